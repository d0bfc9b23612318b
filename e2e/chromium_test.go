package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// outsider is a name that only the browser knows, for loopback. Pages from there are not a secure context, as pages
// over plain HTTP are not that come from another machine.
const outsider = "log.example"

// browser is a real Chromium with an empty profile and no way out.
type browser struct {
	t   *testing.T
	ctx context.Context
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("Chromium is missing: %v\nrun `make deps` in the root of the repository first", err)
	}
	// Not the defaults of chromedp: they switch off what people's browsers have.
	ctx, cancel := chromedp.NewExecAllocator(t.Context(),
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("headless", "new"), chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true), chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("host-resolver-rules", "MAP "+outsider+" 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	return &browser{t, ctx}
}

// looks is how somebody looks at a page.
type looks struct {
	name     string
	width    int64
	dark     bool
	noScript bool
}

var desktop = looks{name: "desktop", width: 1280}

// tab is a page that somebody looks at, with a profile of its own. It notes all that must not happen.
type tab struct {
	t      *testing.T
	ctx    context.Context
	window emulation.SetDeviceMetricsOverrideParams

	mu        sync.Mutex
	complaint []string // errors, exceptions, violations of the content security policy
	requests  []string // URLs
	expected  []string // complaints that are no surprise, by a part of them
	weight    map[network.RequestID]int64
}

// open opens a tab for somebody who looks at pages in that way.
func (b *browser) open(t *testing.T, how looks) *tab {
	t.Helper()
	p := &tab{t: t, weight: map[network.RequestID]int64{}}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(p.note))
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 3*patience)
	t.Cleanup(stop)
	p.ctx = ctx
	scheme := "light"
	if how.dark {
		scheme = "dark"
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, cdplog.Enable, cdp.Empty{})
	p.window = emulation.SetDeviceMetricsOverrideParams{Width: how.width, Height: 900, DeviceScaleFactor: 1, Mobile: how.width < 500}
	call(p, emulation.SetDeviceMetricsOverride, p.window)
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: how.noScript})
	call(p, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: sentinel})
	t.Cleanup(func() {
		for _, c := range p.complaints() {
			t.Errorf("the page complains: %s", c)
		}
	})
	return p
}

// call sends a command of the DevTools protocol.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	result, err := chromedp.Call(p.ctx, command, params)
	if err != nil {
		p.t.Fatalf("%s: %v", command.Method, err)
	}
	return result
}

func (p *tab) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.complaint = append(p.complaint, "exception: "+(&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			said, _ := json.Marshal(e.Args)
			p.complaint = append(p.complaint, "console: "+string(said))
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.complaint = append(p.complaint, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *cdppage.EventJavascriptDialogOpening:
		p.complaint = append(p.complaint, "dialog: "+e.Message)
		go func() {
			_, _ = chromedp.Call(p.ctx, cdppage.HandleJavaScriptDialog, cdppage.HandleJavaScriptDialogParams{})
		}()
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *network.EventDataReceived:
		p.weight[e.RequestID] += e.DataLength
	}
}

// expect says that complaints with this text are no surprise.
func (p *tab) expect(text string) { p.expected = append(p.expected, text) }

func (p *tab) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.complaint), func(c string) bool {
		return slices.ContainsFunc(p.expected, func(e string) bool { return strings.Contains(c, e) })
	})
}

// failed ends the test, with what the page shows.
func (p *tab) failed(what string, err error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	shown, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
	p.t.Fatalf("%s: %v\nthe page: %s\nit complains: %q", what, err, shown, p.complaints())
}

func (p *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.failed(what, err)
	}
}

// visit goes to a page and returns when it is loaded.
func (p *tab) visit(address string) {
	p.t.Helper()
	p.do("visiting "+address, chromedp.Navigate(address))
}

// eval runs an expression in the page, waits for it if it is a promise, and returns its value.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.failed(expression, err)
	}
	return value
}

// await returns when the expression is true. It may be about the page that comes next.
func (p *tab) await(expression string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		is, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && is {
			return
		}
		if time.Now().After(deadline) || p.ctx.Err() != nil {
			p.failed("waiting for "+expression, err)
		}
	}
}

// text is what an element shows.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, "document.querySelector("+literal(selector)+").innerText")
}

// literal makes an expression of a text.
func literal(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// screenshots is the folder that pictures of pages go to: TALLYSTICK_SCREENSHOTS, or the test's artifacts.
func screenshots(t *testing.T) string {
	t.Helper()
	dir := cmp.Or(os.Getenv("TALLYSTICK_SCREENSHOTS"), t.ArtifactDir())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// shoot keeps a picture of the whole page. The page has to be there: Chromium hangs if it changes meanwhile.
func (p *tab) shoot(name string) {
	p.t.Helper()
	p.await(`document.readyState === "complete"`)
	call(p, cdppage.BringToFront, cdp.Empty{})
	whole := p.window
	whole.Height = eval[int64](p, "document.documentElement.scrollHeight")
	call(p, emulation.SetDeviceMetricsOverride, whole)
	picture := call(p, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{Format: "png"}).Data
	call(p, emulation.SetDeviceMetricsOverride, p.window)
	if err := os.WriteFile(filepath.Join(screenshots(p.t), name+".png"), picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// total returns how many bytes were loaded, uncompressed.
func (p *tab) total() (bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.weight {
		bytes += w
	}
	return bytes
}

// strangers returns the requests that went elsewhere than to this origin.
func (p *tab) strangers(origin string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	home, err := url.Parse(origin)
	if err != nil {
		p.t.Fatal(err)
	}
	return slices.DeleteFunc(slices.Clone(p.requests), func(r string) bool {
		u, err := url.Parse(r)
		return err == nil && (u.Host == home.Host && u.Scheme == home.Scheme || u.Scheme == "data" || u.Scheme == "about" || u.Scheme == "blob")
	})
}

// axe has axe-core judge the page, and fails the test for what it finds serious or critical.
func (p *tab) axe() {
	p.t.Helper()
	script := string(readFile(p.t, tool(p.t, "axe-core-4.14.1", "axe.min.js")))
	type finding struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}
	var found struct {
		Violations []finding
		Passes     int
	}
	// Into a world of its own: the page's policy lets no script in, and it should not.
	frame := call(p, cdppage.GetFrameTree, cdp.Empty{}).FrameTree.Frame.ID
	world := call(p, cdppage.CreateIsolatedWorld, cdppage.CreateIsolatedWorldParams{FrameID: frame, WorldName: "axe"}).ExecutionContextID
	yes := true
	for _, run := range []string{script, `axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify({violations: r.violations, passes: r.passes.length}))`} {
		got := call(p, runtime.Evaluate, runtime.EvaluateParams{Expression: run, ContextID: world, AwaitPromise: &yes, ReturnByValue: &yes})
		if got.ExceptionDetails != nil {
			p.t.Fatalf("axe-core: %v", &chromedp.ExceptionError{ExceptionDetails: got.ExceptionDetails})
		}
		var text string
		if run == script {
			continue
		}
		if err := json.Unmarshal([]byte(got.Result.Value), &text); err != nil {
			p.t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			p.t.Fatal(err)
		}
	}
	if found.Passes < 10 {
		p.t.Errorf("axe-core judged by %d rules only", found.Passes)
	}
	for _, v := range found.Violations {
		report := p.t.Logf
		if v.Impact == "serious" || v.Impact == "critical" {
			report = p.t.Errorf
		}
		for _, n := range v.Nodes {
			report("axe-core: %s, %s: %s\n%.300s\n%s", v.Impact, v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}
