// Checks, with nothing but the browser's own cryptography, that a log holds an entry. It is strict as Go's package
// verify is: what it does not know is wrong, and only what was proved is good. No DOM, no requests.

import { cannotCheck, fromBase64, fromUTF8, hashText, sha256, utf8 } from "./bytes.js";
import { parseCheckpoint, verifies, verifyCheckpoint } from "./checkpoint.js";
import { FormatError, clip, parseJSON, readArray, readObject, readText, readWhole } from "./json.js";
import { climb, grow, leafHash } from "./merkle.js";
import { validAt } from "./trust.js";

const MAX_ANSWER = 16 << 20; // bytes
const MAX_PATH = 64;
const MAX_TIME = 253402300799; // the end of the year 9999, Unix seconds
const MAX_AHEAD = 86400; // by how much a log's clock may be ahead of this one, seconds

// Without any one of these there is no good verdict.
const NEEDED = ["read", "leaf", "path", "head", "key", "signature", "timestamp"];

/**
 * A step of a check. ok is null if it could not be tried, because an earlier step failed.
 *
 * @typedef {{name: string, title: string, ok: ?boolean, words: string}} Step
 */

class Steps {
  constructor() {
    this.list = [];
  }

  /** Runs a step: it returns words, or throws. A step of which a need is false is not tried. */
  async run(name, title, needs, check) {
    const step = { name, title, ok: null, words: "Not checked, because of what failed before." };
    this.list.push(step);
    if (!needs) {
      return false;
    }
    try {
      const words = await check();
      step.words = words.replaceAll("….", "…");
      step.ok = true;
    } catch (error) {
      step.ok = false;
      step.words = error instanceof FormatError ? sentence(error.message) : `The check itself failed: ${error}.`;
    }
    return step.ok;
  }

  /** The verdict: good only if each needed step was tried, and no step failed. */
  good(needed) {
    return needed.every((name) => this.list.some((s) => s.name === name && s.ok === true)) && this.list.every((s) => s.ok === true);
  }

  /** The first step that failed. */
  failed() {
    return this.list.find((s) => s.ok === false);
  }
}

// A member of the answer keeps its name as it is.
const sentence = (text) => text.replace(/^[a-z](?=[a-z]*[^a-zA-Z])/, (c) => c.toUpperCase()) + (/[.!?…]$/.test(text) ? "" : ".");
const hashCount = (n) => (n === 1 ? "1 hash" : `${n} hashes`);
const short = (hash) => hash.slice(0, 12) + "…";
const utc = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").replace(".000Z", " UTC");

function unknown(reason) {
  return { verdict: "unknown", reason, steps: [], entry: null, path: null, key: null };
}

/**
 * Checks the answer of a Rekor v1 API to a request for one entry (LogEntry: GET /api/v1/log/entries/<UUID>).
 *
 * The verdict is "good" only if all this holds: the body's leaf hash is in the entry's ID; body and path lead to the root; that is the
 * root in the checkpoint, for that size and tree ID; the log with one of the keys signed the checkpoint, and the entry's body,
 * index and time (the signed entry timestamp, SET); that time is not more than a day ahead; the key was valid at it; an attestation, if there is one, has the hash that the
 * body says. Otherwise it is "bad", or "unknown" where the browser has no WebCrypto.
 *
 * @param {Uint8Array|string} answer the JSON as it came; not parsed, because two members of one name or large numbers would not be seen any
 *   more
 * @param {import("./trust.js").LogKey[]} keys of logs that are trusted
 * @param {{uuid?: string, logIndex?: number}} asked what was asked for: the entry has to be that
 * @param {number} now Unix seconds
 * @returns {Promise<{verdict: string, reason: string, steps: Step[], entry: ?object, path: ?object, key: ?object}>} reason is the verdict in
 *   a sentence; path is what tree.js draws: {leaf, index, size, nodes, root, wanted} (see climb; wanted is the checkpoint's root)
 */
export async function checkEntry(answer, keys, asked = {}, now = Date.now() / 1000) {
  const reason = cannotCheck();
  if (reason !== "") {
    return unknown(reason);
  }
  const steps = new Steps();
  let entry = null;
  let checkpoint = null;
  let leaf = null;
  let path = null;
  let key = null;

  const read = await steps.run("read", "The answer is whole", true, () => {
    const e = parseAnswer(answer);
    checkAsked(e, asked);
    checkpoint = parseCheckpoint(e.proof.checkpoint);
    entry = e;
    return `It is entry ${e.logIndex} of the log, of kind ${clip(e.kind)}, with the proofs that belong to it.`;
  });
  await steps.run("leaf", "The ID is made from the body", read, async () => {
    leaf = await leafHash(entry.body);
    if (entry.leaf !== leaf) {
      throw new FormatError(`the body's leaf hash is ${short(leaf)}, but the entry's ID ends with ${short(entry.leaf)}: the body is not that of this entry`);
    }
    return `SHA-256 over the ${entry.body.length} bytes of the body is the leaf hash ${short(leaf)}, with which the entry's ID ends.`;
  });
  await steps.run("path", "The entry leads to the root", read && leaf !== null, async () => {
    const { index, size, hashes, root } = entry.proof;
    const { root: made, nodes } = await climb(leaf, index, size, hashes);
    path = { leaf, index, size, nodes, root: made, wanted: checkpoint.root };
    if (made !== root) {
      throw new FormatError(`the body and the path lead to the root ${short(made)}, not to ${short(root)}`);
    }
    return nodes.length === 0
      ? `It is the tree's only leaf, and so its hash is the root ${short(made)}.`
      : `The leaf hash and ${hashCount(nodes.length)} from the log make the root ${short(made)} of a tree with ${size} leaves.`;
  });
  await steps.run("head", "The checkpoint is about this tree", read, () => {
    const { size, root } = entry.proof;
    if (checkpoint.size !== size || checkpoint.root !== root) {
      throw new FormatError(`the checkpoint has size ${checkpoint.size} and root ${short(checkpoint.root)}, but the proof is for size ${size} and root ${short(root)}`);
    }
    if (BigInt(checkpoint.treeID) !== BigInt("0x" + entry.treeID)) {
      throw new FormatError(`the checkpoint is of tree ${checkpoint.treeID}, but the entry's ID is of tree ${BigInt("0x" + entry.treeID)}`);
    }
    return `It says the same size and root, of the tree ${checkpoint.origin}.`;
  });
  await steps.run("key", "The log's key is known", read, () => {
    const k = keys.find((k) => k.id === entry.logID);
    if (k === undefined) {
      throw new FormatError(`the entry is said to be of the log with ID ${short(entry.logID)}, but none of the keys that are trusted here is that log's`);
    }
    if (!validAt(k, entry.time)) {
      throw new FormatError(`the log's key is not to be trusted for ${utc(entry.time)}, when the entry was taken in`);
    }
    key = k;
    return `Log ID ${short(k.id)}; ${k.source}.`;
  });
  await steps.run("signature", "The log signed the checkpoint", read && key !== null, async () => {
    await verifyCheckpoint(checkpoint, key);
    return `The key's signature under the name ${checkpoint.host} holds.`;
  });
  await steps.run("timestamp", "The log signed body, index and time", read && key !== null, async () => {
    if (await verifies(key, setMessage(entry), entry.set) !== true) {
      throw new FormatError("the signed entry timestamp is not the log's for this body, time and index");
    }
    if (entry.time > now + MAX_AHEAD) {
      throw new FormatError(`the log says that it took the entry in at ${utc(entry.time)}, which is yet to come; unless this device's clock is wrong, that is not true`);
    }
    return `The signed entry timestamp holds: the log took entry ${entry.logIndex} in at ${utc(entry.time)}.`;
  });
  if (entry?.attestation) {
    await steps.run("attestation", "The attestation is what was signed", true, async () => {
      if (entry.payloadHash !== await sha256(entry.attestation)) {
        throw new FormatError("the attestation is not the one that the entry records");
      }
      return `Its ${entry.attestation.length} bytes have the hash that the body records.`;
    });
  }

  const good = steps.good(NEEDED);
  return {
    verdict: good ? "good" : "bad",
    reason: good
      ? `The log holds this entry as number ${entry.logIndex}, since ${utc(entry.time)}.`
      : (steps.failed()?.words ?? "Not everything could be checked."),
    steps: steps.list, entry, path, key,
  };
}

/** The bytes that a SET signs: the canonical JSON (RFC 8785) of body, integratedTime, logID and logIndex. */
function setMessage(entry) {
  return utf8(`{"body":"${entry.bodyText}","integratedTime":${entry.time},"logID":"${entry.logID}","logIndex":${entry.logIndex}}`);
}

function checkAsked(entry, asked) {
  const { uuid, logIndex } = asked;
  if (uuid !== undefined && uuid !== entry.uuid && uuid !== entry.leaf) {
    throw new FormatError(`the answer is about another entry than the one that was asked for, ${clip(String(uuid))}`);
  }
  if (logIndex !== undefined && logIndex !== entry.logIndex) {
    throw new FormatError(`the answer is about entry ${entry.logIndex}, not ${clip(String(logIndex))}, which was asked for`);
  }
}

const readBase64 = (value, what) => fromBase64(readText(value, what), what);

/** Reads the answer, which has to be one entry with everything that proves it. */
function parseAnswer(answer) {
  if (answer.length > MAX_ANSWER) {
    throw new FormatError(`the answer is larger than ${MAX_ANSWER} bytes`);
  }
  const entries = parseJSON(typeof answer === "string" ? answer : fromUTF8(answer, "the answer"));
  if (!(entries instanceof Map) || entries.size !== 1) {
    throw new FormatError("the answer is not one log entry");
  }
  const [[uuid, value]] = entries;
  if (!/^[0-9a-f]{80}$/.test(uuid) || /^0{16}/.test(uuid)) {
    throw new FormatError(`“${clip(uuid)}” is not an entry ID: a tree ID and a leaf hash`);
  }
  const read = readObject(value, "the entry", {
    body: readText,
    integratedTime: readWhole,
    logID: hashText,
    logIndex: readWhole,
    attestation: (v, what) => readObject(v, what, { data: readBase64 }),
    verification: (v, what) => readObject(v, what, {
      signedEntryTimestamp: readBase64,
      inclusionProof: (p, of) => readObject(p, of, {
        checkpoint: readText,
        hashes: (list, hashes) => readArray(list, hashes, MAX_PATH, hashText),
        logIndex: readWhole,
        rootHash: hashText,
        treeSize: readWhole,
      }),
    }),
  });
  const verification = read.get("verification");
  const proof = verification?.get("inclusionProof");
  const entry = {
    uuid, treeID: uuid.slice(0, 16), leaf: uuid.slice(16), bodyText: read.get("body"), time: read.get("integratedTime"),
    logID: read.get("logID"), logIndex: read.get("logIndex"), set: verification?.get("signedEntryTimestamp"),
    attestation: read.get("attestation")?.get("data"),
    proof: proof && {
      index: proof.get("logIndex"), size: proof.get("treeSize"), root: proof.get("rootHash"), hashes: proof.get("hashes") ?? [],
      checkpoint: proof.get("checkpoint"),
    },
  };
  if (entry.set === undefined) {
    throw new FormatError("there is no signed entry timestamp (SET), without which index and time are nobody's word; a log that has stopped signing answers so");
  }
  if (entry.proof === undefined) {
    throw new FormatError("there is no inclusion proof");
  }
  for (const [name, part] of [...Object.entries(entry), ...Object.entries(entry.proof)]) {
    if (part === undefined && name !== "attestation") {
      throw new FormatError(`a part of the answer is missing: ${name}`);
    }
  }
  if (entry.time === 0 || entry.time > MAX_TIME) {
    throw new FormatError("the integrated time is zero, or beyond the year 9999");
  }
  if (entry.logIndex < entry.proof.index) {
    throw new FormatError(`the entry's index, ${entry.logIndex}, is less than the one in its tree, ${entry.proof.index}`);
  }
  if (read.has("attestation") && !(entry.attestation?.length > 0)) {
    throw new FormatError("the attestation is empty");
  }
  entry.body = fromBase64(entry.bodyText, "the body");
  return readBody(entry);
}

/** Adds what the body says: kind, version and, where there is an attestation, its hash. */
function readBody(entry) {
  const any = (value) => value;
  const body = readObject(parseJSON(fromUTF8(entry.body, "the body")), "the body", { kind: readText, apiVersion: readText, spec: any });
  entry.kind = body.get("kind");
  entry.version = body.get("apiVersion");
  if (!entry.kind || !entry.version || !(body.get("spec") instanceof Map)) {
    throw new FormatError("the body has no kind, apiVersion or spec");
  }
  if (entry.attestation) {
    entry.payloadHash = recordedPayload(entry.kind, body.get("spec"));
  }
  return entry;
}

/** The SHA-256 of the payload that an entry of kind dsse or intoto records; "" if there is none. */
function recordedPayload(kind, spec) {
  const holder = kind === "dsse" ? spec : kind === "intoto" ? spec.get("content") : null;
  const hash = holder instanceof Map ? holder.get("payloadHash") : null;
  return hash instanceof Map && hash.get("algorithm") === "sha256" && typeof hash.get("value") === "string" ? hash.get("value") : "";
}

/**
 * Checks that a tree of the second size and root extends one of the first (RFC 6962, section 2.1.2).
 *
 * @param {{size: number, root: string}} first 1 <= size <= that of second; root in hexadecimal
 * @param {{size: number, root: string}} second
 * @param {string[]} path the hashes of the consistency proof
 * @returns {Promise<{verdict: string, reason: string, steps: Step[], nodes: object[]}>} nodes is what tree.js draws (see grow)
 */
export async function checkConsistency(first, second, path) {
  const reason = cannotCheck();
  if (reason !== "") {
    return { ...unknown(reason), nodes: [] };
  }
  const steps = new Steps();
  let nodes = [];
  await steps.run("consistency", `The tree of size ${second.size} extends that of size ${first.size}`, true, async () => {
    nodes = await checkGrowth(first, second, path);
    return first.size === second.size
      ? "It is the same tree, with the same root."
      : `${hashCount(path.length)} from the log, with what both trees share, make both roots: ${short(first.root)} and ${short(second.root)}.`;
  });
  const good = steps.good(["consistency"]);
  return {
    verdict: good ? "good" : "bad",
    reason: good ? `The tree of size ${second.size} begins with that of size ${first.size}.` : steps.failed().words,
    steps: steps.list, nodes,
  };
}

async function checkGrowth(first, second, path) {
  for (const head of [first, second]) {
    hashText(head.root, "a root");
    if (!Number.isSafeInteger(head.size) || head.size < 1) {
      throw new FormatError("a tree size is not a whole number from one up");
    }
  }
  readArray(path, "the consistency proof", MAX_PATH, hashText);
  if (first.size > second.size) {
    throw new FormatError(`a tree of size ${second.size} cannot extend one of size ${first.size}: the log shrank`);
  }
  const made = await grow(first.size, first.root, second.size, path);
  if (made.first !== first.root) {
    throw new FormatError(`the proof leads to the root ${short(made.first)} at size ${first.size}, not to ${short(first.root)}, so it does not show that one tree extends the other`);
  }
  if (made.second !== second.root) {
    throw new FormatError(`the proof leads to the root ${short(made.second)} at size ${second.size}, not to ${short(second.root)}, so it does not show that one tree extends the other`);
  }
  return made.nodes;
}

/** Reads the answer to GET /api/v1/log/proof: the hashes. */
export function parseConsistency(answer) {
  const read = readObject(parseJSON(answer), "the consistency proof", {
    hashes: (list, what) => readArray(list, what, MAX_PATH, hashText),
    rootHash: hashText,
  });
  return read.get("hashes") ?? [];
}

/**
 * Finds a tree's checkpoint in the answer to GET /api/v1/log, among the active tree and the older ones.
 *
 * @returns {string} the signed checkpoint, not yet verified
 * @throws {FormatError}
 */
export function parseLogInfo(answer, treeID) {
  const shard = { rootHash: hashText, signedTreeHead: readText, treeID: readText, treeSize: readWhole };
  const info = readObject(parseJSON(answer), "the log's answer", {
    ...shard,
    inactiveShards: (list, what) => readArray(list, what, 1024, (v, of) => readObject(v, of, shard)),
  });
  for (const tree of [info, ...(info.get("inactiveShards") ?? [])]) {
    if (tree.get("treeID") === treeID && tree.has("signedTreeHead")) {
      return tree.get("signedTreeHead");
    }
  }
  throw new FormatError(`the log has no tree ${clip(treeID)}`);
}

/**
 * Checks that a log's history holds together: the tree of the first size, that of the second, and the newest checkpoint, each extending the one before.
 *
 * The verdict is "good" only if the first is that of a checkpoint that was kept. Without one the log may have made both trees today: it is
 * "consistent" then, which says nothing of what the log showed before.
 *
 * @param {object} claim
 * @param {{size: number, root: string}} claim.first
 * @param {{size: number, root: string}} claim.second
 * @param {string} claim.checkpoint the newest one, signed
 * @param {string} claim.treeID decimal: whose checkpoint it has to be
 * @param {string[]} claim.between the proof from first to second
 * @param {string[]} claim.after the proof from second to the checkpoint
 * @param {string} [claim.kept] a signed checkpoint of which first was read, kept from earlier: its signature is checked too
 * @param {import("./trust.js").LogKey[]} keys that of the newest checkpoint has to be valid now; when the other one was signed, nothing says
 * @param {number} now Unix seconds
 * @returns {Promise<{verdict: string, reason: string, steps: Step[], nodes: object[], key: ?object}>}
 */
export async function checkHistory(claim, keys, now = Date.now() / 1000) {
  const reason = cannotCheck();
  if (reason !== "") {
    return { ...unknown(reason), nodes: [] };
  }
  const steps = new Steps();
  const { first, second, between, after, treeID, kept } = claim;
  let head = null;
  let key = null;
  let nodes = [];
  const open = async (signed) => {
    const c = parseCheckpoint(signed);
    if (c.treeID !== treeID) {
      throw new FormatError(`the checkpoint is of tree ${c.treeID}, not of ${clip(treeID)}`);
    }
    const k = keys.find((k) => k.id.startsWith(c.hint));
    if (k === undefined) {
      throw new FormatError("none of the keys that are trusted here is that of the log that signed the checkpoint");
    }
    await verifyCheckpoint(c, k);
    return [c, k];
  };
  const signed = await steps.run("head", "The log signed its newest checkpoint", true, async () => {
    const [c, k] = await open(claim.checkpoint);
    if (!validAt(k, now)) {
      throw new FormatError("the key that signed the log's newest checkpoint is not to be trusted for the present time");
    }
    [head, key] = [c, k];
    return `Size ${head.size}, root ${short(head.root)}; ${key.source}.`;
  });
  if (kept !== undefined) {
    await steps.run("kept", "The log signed the checkpoint that was kept", true, async () => {
      const [c, k] = await open(kept);
      if (k.from !== null && now < k.from) {
        throw new FormatError("the key that signed it is not to be trusted yet");
      }
      if (c.size !== first.size || c.root !== first.root || signed && c.origin !== head.origin) {
        throw new FormatError("it is of another tree");
      }
      return `Size ${c.size}, root ${short(c.root)}.`;
    });
  }
  await steps.run("consistency", `The tree of size ${second.size} extends that of size ${first.size}`, true, async () => {
    nodes = await checkGrowth(first, second, between);
    return first.size === second.size ? "It is the same tree, with the same root." : `With ${hashCount(between.length)} from the log both roots are made.`;
  });
  await steps.run("after", `The newest checkpoint extends the tree of size ${second.size}`, signed, async () => {
    await checkGrowth(second, head, after);
    return second.size === head.size ? "It is the same tree, with the same root." : `With ${hashCount(after.length)} from the log both roots are made.`;
  });
  const good = steps.good(["head", "consistency", "after", ...(kept === undefined ? [] : ["kept"])]);
  const result = { steps: steps.list, nodes, key };
  if (!good) {
    return { verdict: "bad", reason: steps.failed()?.words ?? "Not everything could be checked.", ...result };
  }
  if (kept === undefined) {
    return {
      verdict: "consistent",
      reason: `The tree that the log shows now, of size ${second.size}, begins with the tree of size ${first.size} that it shows now. ` +
        "Whether that is the one it showed before, only a checkpoint that you kept can tell.",
      ...result,
    };
  }
  return { verdict: "good", reason: `The log only grew: none of the first ${first.size} entries, which the checkpoint that was kept is about, was changed, moved or removed.`, ...result };
}
