// The keys of logs, and who vouches for them. Only ECDSA P-256: Rekor v1 logs sign with nothing else.

import { fromBase64, fromHex, sha256, toHex } from "./bytes.js";
import { FormatError, clip, parseJSON, readArray, readObject, readText } from "./json.js";

const MAX_LOGS = 1024;
const TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";

// A DER SubjectPublicKeyInfo of a P-256 key as an uncompressed point, up to the point's coordinates (RFC 5480).
const P256 = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";

/**
 * A log's key.
 *
 * @typedef {object} LogKey
 * @property {string} id the log ID: SHA-256 of the key in DER, hexadecimal
 * @property {CryptoKey} key
 * @property {string} source who vouches for it, in words
 * @property {string} name the log's URL or ""; for people
 * @property {?number} from since when it is to be trusted, Unix seconds; null: always
 * @property {?number} to until when, inclusive
 */

/** Reads a key in DER. */
async function keyFromDER(der, source, name, from, to) {
  if (der.length !== 91 || !toHex(der).startsWith(P256)) {
    throw new FormatError("not an ECDSA P-256 public key, which is what Rekor v1 logs sign with");
  }
  let key;
  try {
    key = await globalThis.crypto.subtle.importKey("spki", der, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
  } catch {
    throw new FormatError("the key is not a point of the curve P-256");
  }
  return { id: await sha256(der), key, source, name, from, to };
}

/**
 * Reads a log's key in PEM (RFC 7468): one block PUBLIC KEY, and nothing else but white space around it.
 *
 * @param {string} source who vouches for it
 * @returns {Promise<LogKey>}
 * @throws {FormatError}
 */
export async function keyFromPEM(text, source) {
  const block = /^\s*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]{1,1000}?)\r?\n-----END PUBLIC KEY-----\s*$/.exec(text);
  if (block === null) {
    throw new FormatError("not one public key in PEM (“-----BEGIN PUBLIC KEY-----” …)");
  }
  return keyFromDER(fromBase64(block[1].replace(/[\r\n]/g, ""), "the key"), source, "", null, null);
}

/**
 * Reads the logs' keys of a Sigstore trusted root, version 0.1, in JSON (protobuf-specs, sigstore_trustroot.proto).
 * Logs with keys of other types are left out, and so are not trusted; so are certificate and timestamp authorities, which
 * sign no proofs.
 *
 * @param {string} source who vouches for it
 * @returns {Promise<LogKey[]>}
 * @throws {FormatError}
 */
export async function keysFromTrustedRoot(text, source) {
  const skip = () => undefined;
  const root = readObject(parseJSON(text), "the trusted root", {
    mediaType: readText,
    tlogs: (value, what) => readArray(value, what, MAX_LOGS, readLog),
    ctlogs: skip, certificateAuthorities: skip, timestampAuthorities: skip,
  });
  if (root.get("mediaType") !== TRUSTED_ROOT) {
    throw new FormatError(`the file is not a Sigstore trusted root of version 0.1: its mediaType is “${clip(root.get("mediaType") ?? "")}”`);
  }
  const keys = [];
  for (const log of root.get("tlogs") ?? []) {
    if (log.details !== "PKIX_ECDSA_P256_SHA_256") {
      continue;
    }
    const key = await keyFromDER(log.der, source, log.name, log.from, log.to);
    if (key.id !== log.id) {
      throw new FormatError(`the trusted root gives a log the ID ${clip(log.id)}, but that of its key is ${key.id}`);
    }
    if (keys.some((k) => k.id === key.id)) {
      throw new FormatError(`the trusted root has two logs of the ID ${key.id}`);
    }
    keys.push(key);
  }
  if (keys.length === 0) {
    throw new FormatError("the trusted root has no log with an ECDSA P-256 key");
  }
  return keys;
}

/** Reads a TransparencyLogInstance. */
function readLog(value, what) {
  const keyID = (v, of) => toHex(readObject(v, of, { keyId: readBase64 }).get("keyId") ?? []);
  const log = readObject(value, what, {
    baseUrl: readText,
    hashAlgorithm: readText,
    publicKey: (v, of) => readObject(v, of, { rawBytes: readBase64, keyDetails: readText, validFor: readWindow }),
    logId: keyID,
    checkpointKeyId: keyID,
    operator: readText,
  });
  const key = log.get("publicKey");
  const id = log.get("logId");
  const checkpointID = log.get("checkpointKeyId") ?? "";
  if (log.get("hashAlgorithm") !== "SHA2_256") {
    throw new FormatError(`${what}: its hashAlgorithm is not SHA2_256`);
  }
  if (key?.get("rawBytes") === undefined || !id) {
    throw new FormatError(`${what}: publicKey or logId is missing`);
  }
  if (checkpointID !== "" && checkpointID !== id && checkpointID !== id.slice(0, 8)) {
    throw new FormatError(`${what}: checkpointKeyId is another ID than logId`);
  }
  const window = key.get("validFor") ?? new Map();
  if (window.get("start") === undefined) {
    throw new FormatError(`${what}: publicKey.validFor.start is missing`);
  }
  return {
    der: key.get("rawBytes"), details: key.get("keyDetails"), id, name: log.get("baseUrl") ?? "",
    from: window.get("start"), to: window.get("end") ?? null,
  };
}

const readBase64 = (value, what) => fromBase64(readText(value, what), what);

/** Reads a TimeRange. */
function readWindow(value, what) {
  const window = readObject(value, what, { start: readTime, end: readTime });
  if (window.get("end") < window.get("start")) {
    throw new FormatError(`${what} ends before it begins`);
  }
  return window;
}

/** Reads a time (RFC 3339) as Unix seconds. */
function readTime(value, what) {
  const text = readText(value, what);
  const parts = /^([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$/.exec(text);
  const time = parts === null ? NaN : Date.parse(`${parts[1]}T${parts[2]}${parts[4]}`);
  // Date.parse takes 30 February for 2 March.
  if (Number.isNaN(time) || new Date(Date.parse(`${parts[1]}T${parts[2]}Z`)).toISOString().slice(0, 19) !== `${parts[1]}T${parts[2]}`) {
    throw new FormatError(`${what} is not a time in the form of RFC 3339`);
  }
  return time / 1000 + Number(parts[3] ?? 0);
}

/**
 * Reads what somebody pasted or dropped: a key in PEM, or a trusted root.
 *
 * @param {string} source who vouches for it
 * @returns {Promise<LogKey[]>}
 * @throws {FormatError}
 */
export async function readKeys(text, source) {
  return text.trimStart().startsWith("{") ? keysFromTrustedRoot(text, source) : [await keyFromPEM(text, source)];
}

/** Whether a log's key is to be trusted for a time, Unix seconds. */
export const validAt = (key, time) => !(key.from !== null && time < key.from || key.to !== null && time > key.to);

/** The first four bytes of a log's ID, which stand before its signatures of checkpoints (Rekor v1). */
export const keyHint = (key) => fromHex(key.id.slice(0, 8), "the log ID");
