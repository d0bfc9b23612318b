// Checkpoints: what a log signs about its tree (C2SP tlog-checkpoint, in the form of Rekor v1).

import { fromBase64, rawSignature, toHex, utf8 } from "./bytes.js";
import { FormatError, clip, whole } from "./json.js";
import { keyHint } from "./trust.js";

const MAX_CHECKPOINT = 16384;

/**
 * Reads a checkpoint. Nothing of it is true before verifyCheckpoint says so.
 *
 *   <host> - <tree ID>
 *   <size>
 *   <root, base64>
 *
 *   — <host> <base64 of the log ID's first four bytes and an ECDSA signature of the text above>
 *
 * There may be further lines after the third, which are signed and mean nothing here; there is exactly one signature
 * line, under the host's name.
 *
 * @param {string} signed
 * @returns {{origin: string, host: string, treeID: string, size: number, root: string, text: string, hint: string, signature: Uint8Array}}
 *   treeID in decimal; root and hint in hexadecimal
 * @throws {FormatError}
 */
export function parseCheckpoint(signed) {
  const fail = (why) => {
    throw new FormatError(`the checkpoint is malformed: ${why}`);
  };
  if (signed.length > MAX_CHECKPOINT) {
    fail(`it has more than ${MAX_CHECKPOINT} characters`);
  }
  for (let i = 0; i < signed.length; i++) {
    if (signed.charCodeAt(i) < 0x20 && signed[i] !== "\n") {
      fail("it has control characters");
    }
  }
  const end = signed.lastIndexOf("\n\n");
  if (end < 0) {
    fail("it is not a signed note");
  }
  const text = signed.slice(0, end + 1);
  const lines = text.split("\n");
  if (lines.pop() !== "" || lines.length < 3 || lines.includes("")) {
    fail("it has fewer than three lines, or an empty one");
  }
  const origin = /^(.+?) - ([1-9][0-9]{0,18})$/.exec(lines[0]);
  if (origin === null || BigInt(origin[2]) >= 2n ** 63n) {
    fail(`“${clip(lines[0])}” is not “<host> - <tree ID>”`);
  }
  const root = fromBase64(lines[2], "the checkpoint's root");
  if (root.length !== 32) {
    fail("its root is not a hash");
  }
  const line = /^— (\S+) (\S+)\n$/.exec(signed.slice(end + 2));
  if (line === null) {
    fail("it does not end with exactly one signature line");
  }
  if (line[1] !== origin[1]) {
    fail(`it is signed under the name “${clip(line[1])}”, but is one of “${clip(origin[1])}”`);
  }
  const signature = fromBase64(line[2], "the checkpoint's signature");
  if (signature.length < 5) {
    fail("its signature is too short");
  }
  return {
    origin: lines[0], host: origin[1], treeID: origin[2], size: whole(lines[1], "the checkpoint's tree size"), root: toHex(root),
    text, hint: toHex(signature.subarray(0, 4)), signature: signature.subarray(4),
  };
}

/** Verifies an ECDSA signature in DER over the SHA-256 of the message. */
export async function verifies(key, message, der) {
  return globalThis.crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key.key, rawSignature(der), message);
}

/**
 * Verifies that the log with that key signed the checkpoint.
 *
 * @throws {FormatError} if not
 */
export async function verifyCheckpoint(checkpoint, key) {
  if (checkpoint.hint !== toHex(keyHint(key))) {
    throw new FormatError(`the checkpoint names another key, whose ID begins with ${checkpoint.hint}`);
  }
  if (await verifies(key, utf8(checkpoint.text), checkpoint.signature) !== true) {
    throw new FormatError("the log's key did not make the signature on the checkpoint");
  }
}
