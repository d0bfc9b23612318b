// What the pages do if the browser runs scripts. Without it everything works but the check of proofs in
// the browser, and hashing of files.
//
// What the pages' templates have to say:
//
//   <script type="module" src="…/ui/page.js">      Relative imports: the other modules are beside it.
//
//   <log-proof data-uuid="80 hex" data-index="12" data-time="1767225600" data-api="../" [data-shown="id"]>…</log-proof>
//       Where the proof of an entry is checked and drawn. data-api is the URL of the server's root, relative
//       to the page, with a slash at its end. data-index and data-time (Unix seconds) are what the page shows; data-shown names an element whose text is the entry's body, exactly
//       as it is in the log: all three are compared with what was proved. The element's content is what
//       is to be seen without scripts; it is replaced.
//
//   <log-consistency data-tree="decimal tree ID" data-first="3" data-first-root="64 hex" data-second="7"
//                    data-second-root="64 hex" data-api="./">…</log-consistency>
//       Where it is checked and drawn that the tree of the second size extends that of the first, and that the signed
//       checkpoint extends both. The roots are the server's word, which the check holds against the checkpoint. Without
//       first and second it offers only to compare a checkpoint that the user kept.
//
//   <form data-file-search action="search">…</form>
//       Gets a button, and takes files that are dropped on it: the file is hashed here and never
//       sent; the browser goes to <action>?digest=sha256:<hex>.
//
//   <code data-copy>…</code>                       Any element: a button after it copies its text.
//
// Everything is made with textContent and attributes. The classes are:
//
//   .proof, with .proof--busy, .proof--good, .proof--consistent (in itself: nothing is said of the past), .proof--bad, .proof--unknown or
//       .proof--idle (nothing to check yet): the whole of it; data-verdict says the same. With .proof--good or .proof--consistent may be
//       .proof--by-server: the log's key is this server's word, so that it is no full green
//   .proof-verdict (p, role=status): the verdict; in it .proof-mark (a sign: ✓ ✗ ?) and .proof-words
//   .proof-steps (ol), .proof-step with .proof-step--good, --bad or --skipped; in it .proof-step-mark,
//       .proof-step-title and .proof-step-words
//   .proof-picture (figure; scrolls sideways if it must, tabindex=0): an svg and a figcaption; then .proof-text (details):
//       the same in words
//   .visually-hidden (span): for screen readers only
//   .proof-kept (details): where a checkpoint can be pasted that the user kept
//   .proof-keys (details): where the log's key is from; in it .proof-key-choice (fieldset), .proof-key-paste (textarea),
//       .proof-key-file (input), .proof-key-list (dl)
//   .proof-drop: where a file may be dropped; .proof-drop--over while one is held over it
//   .copy (button), .copy-status (span); .file-search (div), .file-search-button, .file-search-status (p); the form gets
//       .file-search--over while a file is held over the page
//
// In the SVG (colours by CSS: fill and stroke): .tree-node (rect), .tree-edge (path), .tree-label (text), .tree-hash (text),
//   with .is-leaf, .is-sibling, .is-made, .is-root, .is-first, .is-bad as further classes.

import { cannotCheck, sha256 } from "./bytes.js";
import { element } from "./dom.js";

// WebCrypto hashes what is in memory, all at once.
const MAX_FILE = 256 << 20;

for (const form of document.querySelectorAll("form[data-file-search]")) {
  addFileSearch(form);
}
for (const shown of document.querySelectorAll("[data-copy]")) {
  addCopy(shown);
}
if (document.querySelector("log-proof, log-consistency")) {
  await import("./view.js");
}

/** Lets a form search for a file, chosen or dropped, by its hash. */
function addFileSearch(form) {
  const status = element("p", { class: "file-search-status", role: "status" });
  const picker = element("input", { type: "file", class: "file-search-input", hidden: "" });
  const button = element("button", { type: "button", class: "file-search-button" }, "Search for a file");
  const box = element("div", { class: "file-search" }, button, picker, status);
  form.append(box);
  const reason = cannotCheck();
  if (reason !== "") {
    button.disabled = true;
    status.textContent = `Files cannot be hashed here. ${reason}`;
    return;
  }
  status.textContent = "Or drop it here: it is hashed in your browser, and not sent.";
  button.addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => searchFor(form, picker.files, status));
  const over = (is) => form.classList.toggle("file-search--over", is);
  addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) {
      event.preventDefault();
      over(true);
    }
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  addEventListener("drop", (event) => {
    if (event.dataTransfer?.types.includes("Files")) {
      event.preventDefault();
      over(false);
      searchFor(form, event.dataTransfer.files, status);
    }
  });
}

async function searchFor(form, files, status) {
  if (files.length !== 1) {
    status.textContent = "One file at a time, please.";
    return;
  }
  const [file] = files;
  if (file.size > MAX_FILE) {
    status.textContent = `${file.name} is larger than ${MAX_FILE >> 20} MiB, which is more than browsers hash. Use sha256sum, and search for the digest.`;
    return;
  }
  status.textContent = `Hashing ${file.name} …`;
  let digest;
  try {
    digest = await sha256(new Uint8Array(await file.arrayBuffer()));
  } catch (error) {
    status.textContent = `${file.name} could not be read: ${error}`;
    return;
  }
  status.textContent = `${file.name} has the digest sha256:${digest}`;
  const target = new URL(form.getAttribute("action") ?? "", document.baseURI);
  target.search = new URLSearchParams({ digest: `sha256:${digest}` }).toString();
  location.assign(target);
}

/** Adds a button that copies an element's text. Where the clipboard is withheld, it selects the text instead. */
function addCopy(shown) {
  const label = shown.dataset.copy || "Copy";
  const button = element("button", { type: "button", class: "copy" }, label);
  const status = element("span", { class: "copy-status", role: "status" });
  shown.after(button, status);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(shown.textContent);
      status.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      status.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { status.textContent = ""; }, 3000);
  });
}
