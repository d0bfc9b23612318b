package main

import (
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/verify"
)

// trustFlags say whom the program believes. They are of the group "trust", so that
// environment variables ($TALLYSTICK_TRUSTED_ROOT, $TALLYSTICK_LOG_KEY) and the
// configuration file can set them, too.
type trustFlags struct {
	TrustedRoot string `name:"trusted-root" placeholder:"FILE" group:"trust" help:"Sigstore trusted root (trusted_root.json): the logs and authorities that are believed."`
	LogKey      string `name:"log-key" placeholder:"FILE" group:"trust" help:"Public key of the one log that is believed (PEM; serve writes it to log.pub), instead of a trusted root."`
}

// maxLogKey is the most that is read of a file with a public key, in bytes.
const maxLogKey = 64 << 10

// given reports whether one of the flags is set.
func (f *trustFlags) given() bool { return f.TrustedRoot != "" || f.LogKey != "" }

// load reads the trust that the flags name. It is an error, of use, to name none or
// two.
func (f *trustFlags) load() (*verify.Trust, error) {
	switch {
	case f.TrustedRoot != "" && f.LogKey != "":
		return nil, usageError{errors.New("--trusted-root and --log-key do not go together (an environment variable or the configuration file may have set one)")}
	case f.TrustedRoot != "":
		return loadTrust("--trusted-root", f.TrustedRoot, verify.MaxTrustedRoot, verify.ParseTrustedRoot)
	case f.LogKey != "":
		return loadTrust("--log-key", f.LogKey, maxLogKey, verify.TrustLogKey)
	}
	return nil, usageError{errors.New("say whom to believe: --trusted-root FILE, or --log-key FILE")}
}

// loadTrust reads one file of trust. Its errors are failures, not refusals (see
// refused): nothing was judged yet.
func loadTrust(flag, path string, limit int64, parse func([]byte) (*verify.Trust, error)) (*verify.Trust, error) {
	data, err := readLimited(path, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	trust, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %v", flag, path, err)
	}
	return trust, nil
}
