// The elements <log-proof> and <log-consistency>: they fetch what is to be checked, have it checked, and show the result. What they need
// and the classes that they use stand in page.js.

import { cannotCheck, fromUTF8 } from "./bytes.js";
import { parseCheckpoint } from "./checkpoint.js";
import { element } from "./dom.js";
import { FormatError } from "./json.js";
import { checkEntry, checkHistory, parseConsistency, parseLogInfo } from "./proof.js";
import { drawConsistency, drawInclusion, tellConsistency, tellInclusion } from "./tree.js";
import { keyFromPEM, readKeys } from "./trust.js";

const MARKS = { good: "✓", consistent: "=", bad: "✗", unknown: "?", busy: "…", idle: "" };
const HEADLINES = { good: "Proved.", consistent: "It adds up.", bad: "NOT proved.", unknown: "Not checked.", busy: "Checking …", idle: "" };
const FROM_SERVER = "the key is this server's own word";
const FROM_USER = "you gave the key to this browser";

/** There is nothing to check, or nothing to check it with: nothing is known, which is not the same as wrong. */
class NoAnswer extends Error {}

/** Asks the server, and returns the bytes of a good answer. */
async function ask(base, path, accept = "application/json") {
  let status;
  try {
    const answer = await fetch(new URL(path, base), { headers: { Accept: accept }, cache: "no-store" });
    if (answer.ok) {
      return new Uint8Array(await answer.arrayBuffer());
    }
    status = `status ${answer.status}`;
  } catch (error) {
    status = String(error);
  }
  throw new NoAnswer(`The server did not answer the request for ${path}: ${status}.`);
}

const askText = async (base, path, accept) => fromUTF8(await ask(base, path, accept), "the answer");

// Keys that the user gave are kept for other pages of this server, where the browser allows it.
const STORED = "tallystick keys";
function storedKeys() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}
function storeKeys(text) {
  try {
    if (text === null) {
      localStorage.removeItem(STORED);
    } else {
      localStorage.setItem(STORED, text);
    }
  } catch {
    // They hold for this page then.
  }
}

/** What both elements share: a verdict, steps, a picture, and where the log's key is from. */
class Check extends HTMLElement {
  #verdict = element("p", { class: "proof-verdict", role: "status", "aria-live": "polite" });
  #steps = element("ol", { class: "proof-steps" });
  #picture = element("div", {});
  #runs = 0;
  own = null; // keys that the user gave
  unreadable = ""; // why what the user gave as a key cannot be read: nothing is checked then, with other keys least of all

  connectedCallback() {
    if (this.#runs > 0) {
      return;
    }
    this.classList.add("proof");
    this.replaceChildren(...this.first(), this.#verdict, this.#steps, this.#picture, ...this.more());
    this.start();
  }

  async start() {
    const reason = cannotCheck();
    if (reason !== "") {
      this.#runs++;
      this.#show({ verdict: "unknown", reason, steps: [] });
      return;
    }
    const text = storedKeys();
    if (text !== null) {
      try {
        this.own = await readKeys(text, FROM_USER);
      } catch (error) {
        this.unreadable = `The key that you gave, and that this browser keeps for this server's pages, cannot be read: ${error.message}. Give it again, or choose this server's key, below.`;
      }
    }
    if (this.idle() && this.unreadable === "") {
      this.#runs++;
      this.#show({ verdict: "idle", reason: "", steps: [] });
      return;
    }
    await this.run();
  }

  /** Says that there is nothing to check before the user asks for it. */
  idle() {
    return false;
  }

  /** Checks, and shows the result, unless another run began meanwhile. */
  async run() {
    const run = ++this.#runs;
    this.#show({ verdict: "busy", reason: "", steps: [] });
    let result;
    try {
      if (this.unreadable !== "") {
        throw new NoAnswer(this.unreadable);
      }
      result = await this.check(new URL(this.dataset.api || "./", document.baseURI));
    } catch (error) {
      const verdict = error instanceof NoAnswer ? "unknown" : "bad";
      const reason = error instanceof NoAnswer || error instanceof FormatError ? error.message : `The check itself failed: ${error}.`;
      result = { verdict, reason, steps: [] };
    }
    if (run === this.#runs) {
      this.#show(result);
    }
  }

  /** The keys to check with: the user's, or the server's for that tree (decimal). */
  async keys(base, treeID) {
    if (this.own !== null) {
      return this.own;
    }
    const pem = await askText(base, `api/v1/log/publicKey?treeID=${encodeURIComponent(treeID)}`, "application/x-pem-file");
    return [await keyFromPEM(pem, FROM_SERVER)];
  }

  #show(result) {
    const { verdict, reason, steps, picture, told } = result;
    for (const v of Object.keys(MARKS)) {
      this.classList.toggle(`proof--${v}`, v === verdict);
    }
    this.dataset.verdict = verdict;
    const holds = verdict === "good" || verdict === "consistent";
    const byServer = holds && this.own === null;
    this.classList.toggle("proof--by-server", byServer);
    this.#verdict.hidden = verdict === "idle";
    const how = !holds ? "" : ` It was checked in your browser, with ${byServer ? "the key that this server gave" : "a key that you gave"}.${this.limits()}`;
    const headline = verdict === "good" && byServer ? this.byServer() : HEADLINES[verdict];
    this.#verdict.replaceChildren(
      element("span", { class: "proof-mark", "aria-hidden": "true" }, MARKS[verdict]),
      element("span", { class: "proof-words" }, element("strong", {}, headline), ` ${reason}${how}`));
    this.#steps.hidden = steps.length === 0;
    this.#steps.replaceChildren(...steps.map(showStep));
    this.#picture.replaceChildren(...(picture ? [
      element("figure", { class: "proof-picture", tabindex: "0", role: "group", "aria-label": "Picture of the proof" }, picture),
      element("details", { class: "proof-text" }, element("summary", {}, "The picture in words"),
        element("ol", {}, ...told.map((t) => element("li", {}, t)))),
    ] : []));
    this.shown(result);
  }

  /** Called when a result is shown. */
  shown() {}

  /** What a good result that rests on the server's own key is called. */
  byServer() {
    return "It holds, by this server's key.";
  }

  /** What a good result does not say, as a further sentence. */
  limits() {
    return "";
  }

  /** Further elements above the result. */
  first() {
    return [];
  }

  /** Further elements below the result. */
  more() {
    return [];
  }
}

function showStep(step) {
  const state = step.ok === true ? "good" : step.ok === false ? "bad" : "skipped";
  const said = { good: "holds: ", bad: "FAILS: ", skipped: "not checked: " }[state];
  return element("li", { class: `proof-step proof-step--${state}` },
    element("span", { class: "proof-step-mark", "aria-hidden": "true" }, { good: "✓", bad: "✗", skipped: "–" }[state]),
    element("span", { class: "visually-hidden" }, said),
    element("strong", { class: "proof-step-title" }, step.title), " ",
    element("span", { class: "proof-step-words" }, step.words));
}

/** The part of an element where the user says whose word the log's key is. */
class KeyChoice {
  #check;
  #summary = element("summary", {});
  #list = element("dl", { class: "proof-key-list" });
  #status = element("p", { class: "proof-key-status", role: "status" });
  #back = element("button", { type: "button" }, "Use this server's key again");

  constructor(check) {
    this.#check = check;
  }

  elements() {
    const paste = element("textarea", { class: "proof-key-paste", rows: "4", spellcheck: "false", autocomplete: "off" });
    const use = element("button", { type: "button" }, "Check with this key");
    const file = element("input", { class: "proof-key-file", type: "file", accept: ".json,.pem,.pub,application/json" });
    const drop = element("fieldset", { class: "proof-key-choice proof-drop" },
      element("legend", {}, "Check with a key that you have from elsewhere"),
      element("label", {}, "Paste the log's public key (PEM) or a Sigstore trusted root (JSON)", paste), use,
      element("label", {}, "Or choose such a file, or drop it here", file),
      this.#back, this.#status);
    use.addEventListener("click", () => this.#use(paste.value));
    file.addEventListener("change", () => this.#useFile(file.files));
    this.#back.addEventListener("click", () => this.#use(null));
    const over = (event, is) => {
      if (event.dataTransfer?.types.includes("Files")) {
        event.preventDefault();
        event.stopPropagation();
        drop.classList.toggle("proof-drop--over", is);
      }
    };
    drop.addEventListener("dragover", (event) => over(event, true));
    drop.addEventListener("dragleave", (event) => over(event, false));
    drop.addEventListener("drop", (event) => {
      over(event, false);
      this.#useFile(event.dataTransfer?.files ?? []);
    });
    return [element("details", { class: "proof-keys" }, this.#summary,
      element("p", {}, "A key that the server gave shows that what it says is consistent. It does not show that the server is the log you mean: " +
        "for that, compare the log ID with one that you have from elsewhere, or check with such a key."),
      this.#list, drop)];
  }

  async #useFile(files) {
    if (files.length !== 1 || files[0].size > 4 << 20) {
      this.#status.textContent = "One file of up to 4 MiB, please.";
      return;
    }
    await this.#use(await files[0].text());
  }

  /** Checks with the keys in the text; null: with the server's. */
  async #use(text) {
    try {
      this.#check.own = text === null ? null : await readKeys(text, FROM_USER);
    } catch (error) {
      this.#status.textContent = `This cannot be used: ${error.message}.`;
      this.#check.unreadable = `What you gave as the log's key cannot be read: ${error.message}.`;
      await this.#check.run();
      return;
    }
    this.#check.unreadable = "";
    storeKeys(text);
    this.#status.textContent = text === null ? "" : "Checked with your key, which this browser keeps for this server's other pages.";
    await this.#check.run();
  }

  /** Shows with which key a result was found. */
  shown(result) {
    const unreadable = this.#check.unreadable !== "";
    const own = this.#check.own !== null;
    this.#summary.textContent = unreadable ? "The log's key: yours cannot be read" : own ? "The log's key: from you" : "The log's key: from this server";
    this.#back.hidden = !own && !unreadable;
    const id = result.key?.id ?? result.entry?.logID;
    this.#list.replaceChildren(...(id ? [
      element("dt", {}, "Log ID (SHA-256 of the key)"), element("dd", {}, element("code", {}, id)),
      element("dt", {}, "How it was learnt"), element("dd", {}, result.key?.source ?? "it was not: no key of that log is trusted here"),
    ] : []));
  }
}

class LogProof extends Check {
  #choice = new KeyChoice(this);

  more() {
    return this.#choice.elements();
  }

  shown(result) {
    this.#choice.shown(result);
  }

  byServer() {
    return "In the log, by this server's key.";
  }

  limits() {
    return " It says nothing of who signed.";
  }

  async check(base) {
    const uuid = this.dataset.uuid ?? "";
    if (!/^[0-9a-f]{80}$/.test(uuid)) {
      throw new FormatError("The page names no entry to be checked.");
    }
    const [answer, keys] = await Promise.all([
      ask(base, `api/v1/log/entries/${uuid}`),
      this.keys(base, BigInt("0x" + uuid.slice(0, 16)).toString()),
    ]);
    const result = await checkEntry(answer, keys, { uuid });
    this.#compareShown(result);
    if (result.path) {
      result.picture = drawInclusion(result.path);
      result.told = tellInclusion(result.path);
    }
    return result;
  }

  /** Holds what the page shows against what was proved: index and time, and the body. */
  #compareShown(result) {
    if (!result.entry) {
      return;
    }
    const { index, time, shown } = this.dataset;
    this.#compare(result, "place", "Index and time on this page are the entry's",
      index === String(result.entry.logIndex) && time === String(result.entry.time),
      "They are those that were checked.", "This page shows another index or time than what was checked.");
    if (shown) {
      this.#compare(result, "shown", "The body on this page is the entry's",
        document.getElementById(shown)?.textContent === fromUTF8(result.entry.body, "the body"),
        "It is, byte for byte, the one that was checked.", "This page shows another body than the one that was checked.");
    }
  }

  #compare(result, name, title, ok, same, other) {
    const words = ok ? same : other;
    result.steps.push({ name, title, ok, words });
    if (!ok && result.verdict === "good") {
      result.verdict = "bad";
      result.reason = words;
    }
  }
}

class LogConsistency extends Check {
  #choice = new KeyChoice(this);
  #kept = null; // a checkpoint that the user kept
  #paste = element("textarea", { class: "proof-key-paste", rows: "5", spellcheck: "false", autocomplete: "off" });

  first() {
    const compare = element("button", { type: "button" }, "Compare with the log");
    compare.addEventListener("click", () => {
      this.#kept = this.#paste.value.replaceAll("\r\n", "\n").trim() + "\n";
      this.run();
    });
    return [element("details", { class: "proof-kept", open: "" }, element("summary", {}, "Compare with a checkpoint that you kept"),
      element("label", {}, "Paste the checkpoint: all of it, with its signature", this.#paste), compare)];
  }

  more() {
    return this.#choice.elements();
  }

  shown(result) {
    this.#choice.shown(result);
  }

  idle() {
    return this.dataset.first === undefined;
  }

  async check(base) {
    const tree = this.dataset.tree ?? "";
    const proof = async (from, to) => (from.size === to.size ? []
      : parseConsistency(await askText(base, `api/v1/log/proof?firstSize=${from.size}&lastSize=${to.size}&treeID=${encodeURIComponent(tree)}`)));
    const [info, keys] = await Promise.all([askText(base, "api/v1/log"), this.keys(base, tree)]);
    const checkpoint = parseLogInfo(info, tree);
    const head = parseCheckpoint(checkpoint);
    const claim = { checkpoint, treeID: tree };
    if (this.#kept !== null) {
      const { size, root } = parseCheckpoint(this.#kept);
      Object.assign(claim, { kept: this.#kept, first: { size, root }, second: { size: head.size, root: head.root } });
    } else {
      Object.assign(claim, { first: this.#head("first"), second: this.#head("second") });
    }
    if (claim.first.size > head.size || claim.second.size > head.size) {
      throw new FormatError(`The log's newest checkpoint has size ${head.size}, which is smaller: the log shrank, or this is not its checkpoint.`);
    }
    claim.between = await proof(claim.first, claim.second);
    claim.after = await proof(claim.second, head);
    const result = await checkHistory(claim, keys);
    if (result.nodes.length > 0) {
      result.picture = drawConsistency(claim.first, claim.second, result.nodes);
      result.told = tellConsistency(claim.first, claim.second, result.nodes);
    }
    return result;
  }

  /** A size and root that the page names. */
  #head(name) {
    const size = Number(this.dataset[name]);
    const root = this.dataset[`${name}Root`];
    if (!Number.isSafeInteger(size) || size < 1 || root === undefined) {
      throw new NoAnswer("Two sizes are needed.");
    }
    return { size, root };
  }
}

customElements.define("log-proof", LogProof);
customElements.define("log-consistency", LogConsistency);
