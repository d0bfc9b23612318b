// What the tests of the modules share: real answers, with the keys that go with them. Run by TestProofModule, which says where
// the modules (TALLYSTICK_MODULES) and the recorded answers (TALLYSTICK_TESTDATA: verify/testdata) are.

import { createHash, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

globalThis.crypto ??= webcrypto; // Node 18 keeps it apart

/** Imports a module of the pages. */
export const load = (name) => import(pathToFileURL(join(process.env.TALLYSTICK_MODULES, name)));

/** Reads a recorded file. */
export const recorded = (name) => readFileSync(join(process.env.TALLYSTICK_TESTDATA, name), "utf8");

const sha256 = (...parts) => parts.reduce((h, p) => h.update(p), createHash("sha256")).digest();

/** RFC 6962, section 2.1, word by word. */
export const leafHash = (body) => sha256(Buffer.from([0]), body);
export function treeHash(leaves) {
  if (leaves.length === 0) {
    return sha256();
  }
  if (leaves.length === 1) {
    return leaves[0];
  }
  const k = split(leaves.length);
  return sha256(Buffer.from([1]), treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)));
}
export function pathOf(m, leaves) {
  if (leaves.length === 1) {
    return [];
  }
  const k = split(leaves.length);
  return m < k ? [...pathOf(m, leaves.slice(0, k)), treeHash(leaves.slice(k))]
    : [...pathOf(m - k, leaves.slice(k)), treeHash(leaves.slice(0, k))];
}
export function growthOf(m, leaves, whole = true) {
  if (m === leaves.length) {
    return whole ? [] : [treeHash(leaves)];
  }
  const k = split(leaves.length);
  return m <= k ? [...growthOf(m, leaves.slice(0, k), whole), treeHash(leaves.slice(k))]
    : [...growthOf(m - k, leaves.slice(k), false), treeHash(leaves.slice(0, k))];
}
function split(n) {
  let k = 1;
  while (k * 2 < n) {
    k *= 2;
  }
  return k;
}

/** The answer that Rekor's API would have given for a TransparencyLogEntry of a bundle. */
function answerOf(bundle) {
  const e = JSON.parse(bundle).verificationMaterial.tlogEntries[0];
  const hex = (text) => Buffer.from(text, "base64").toString("hex");
  const p = e.inclusionProof;
  const tree = BigInt(p.checkpoint.envelope.split("\n")[0].split(" - ")[1]).toString(16).padStart(16, "0");
  const leaf = leafHash(Buffer.from(e.canonicalizedBody, "base64")).toString("hex");
  return JSON.stringify({
    [tree + leaf]: {
      body: e.canonicalizedBody, integratedTime: Number(e.integratedTime), logID: hex(e.logId.keyId), logIndex: Number(e.logIndex),
      verification: {
        inclusionProof: {
          checkpoint: p.checkpoint.envelope, hashes: p.hashes.map(hex), logIndex: Number(p.logIndex), rootHash: hex(p.rootHash), treeSize: Number(p.treeSize),
        },
        signedEntryTimestamp: e.inclusionPromise.signedEntryTimestamp,
      },
    },
  }) + "\n";
}

const ofRekor = JSON.parse(recorded("rekor/log-entry.json")).vectors;

/** Real answers by name: those of this log, of Rekor, and of Sigstore's public instance; each with the trusted root that names its log. */
export const answers = {
  "our hashedrekord": { text: recorded("cosign/blob-legacy-key-cosign2.entry.json"), trust: recorded("cosign/trusted_root.json") },
  "our dsse": { text: recorded("cosign/attestation-bundle-key-cosign2.entry.json"), trust: recorded("cosign/trusted_root.json") },
  "our intoto, with attestation": { text: recorded("cosign/attestation-legacy-key-intoto-cosign2.entry.json"), trust: recorded("cosign/trusted_root.json") },
  "Rekor's hashedrekord": { text: JSON.stringify(ofRekor[0].response), trust: recorded("rekor/trusted-root.json") },
  "Rekor's, in its second shard": { text: JSON.stringify(ofRekor[1].response), trust: recorded("rekor/trusted-root.json") },
  "the public instance's intoto": { text: answerOf(recorded("public-good/provenance-v2.json")), trust: recorded("public-good/trusted_root.json") },
  "another instance's hashedrekord": { text: answerOf(recorded("public-good/othername.json")), trust: recorded("public-good/othername-trusted_root.json") },
};

/** A log of the test's own, which signs whatever it is told. */
export class Forger {
  static async make() {
    const f = new Forger();
    f.pair = await webcrypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
    const spki = Buffer.from(await webcrypto.subtle.exportKey("spki", f.pair.publicKey));
    f.pem = `-----BEGIN PUBLIC KEY-----\n${spki.toString("base64").replace(/(.{64})/g, "$1\n")}\n-----END PUBLIC KEY-----\n`;
    f.id = sha256(spki);
    return f;
  }

  /** A signature in DER. */
  async sign(text) {
    const raw = Buffer.from(await webcrypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, this.pair.privateKey, Buffer.from(text)));
    const integer = (b) => {
      let at = 0;
      while (at < b.length - 1 && b[at] === 0) {
        at++;
      }
      const number = b[at] >= 0x80 ? Buffer.concat([Buffer.from([0]), b.subarray(at)]) : b.subarray(at);
      return Buffer.concat([Buffer.from([2, number.length]), number]);
    };
    const both = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
    return Buffer.concat([Buffer.from([0x30, both.length]), both]);
  }

  async checkpoint(text, name) {
    const line = Buffer.concat([this.id.subarray(0, 4), await this.sign(text)]).toString("base64");
    return `${text}\n— ${name} ${line}\n`;
  }

  /** The answer about leaf m of a tree; change can alter its parts before they are signed, and changed after. */
  async answer(m, bodies, change = (parts) => parts, changed = (answer) => answer) {
    const leaves = bodies.map((b) => leafHash(Buffer.from(b)));
    const root = treeHash(leaves);
    const p = change({
      tree: 77n, host: "forger.example", name: "forger.example", size: bodies.length, root, body: Buffer.from(bodies[m]), time: 1700000000, index: m,
      global: m, hashes: pathOf(m, leaves).map((h) => h.toString("hex")), lines: "",
    });
    const text = `${p.origin ?? `${p.host} - ${p.tree}`}\n${p.signedSize ?? p.size}\n${(p.signedRoot ?? p.root).toString("base64")}\n${p.lines}`;
    const logID = this.id.toString("hex");
    const body = p.body.toString("base64");
    const set = await this.sign(`{"body":"${body}","integratedTime":${p.time},"logID":"${logID}","logIndex":${p.global}}`);
    return changed({
      [p.tree.toString(16).padStart(16, "0") + (p.id ?? leafHash(p.body)).toString("hex")]: {
        body, integratedTime: p.time, logID, logIndex: p.global,
        verification: {
          inclusionProof: { checkpoint: await this.checkpoint(text, p.name), hashes: p.hashes, logIndex: p.index, rootHash: p.root.toString("hex"), treeSize: Number(p.size) },
          signedEntryTimestamp: set.toString("base64"),
        },
      },
    });
  }
}

/** A body that is small and of a known kind. */
export const body = (n) => `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"n":"${n}"}}`;
