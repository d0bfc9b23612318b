// Bytes and their encodings, read strictly: one value has one text. Hashes are strings of 64 hexadecimal digits wherever they
// are compared or shown.

import { FormatError } from "./json.js";

const encoder = new TextEncoder();

/** The UTF-8 bytes of a text. */
export const utf8 = (text) => encoder.encode(text);

/** The text that bytes are in UTF-8. */
export function fromUTF8(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FormatError(`${what} is not UTF-8 text`);
  }
}

/** Lower-case hexadecimal. */
export function toHex(bytes) {
  let text = "";
  for (const b of bytes) {
    text += b.toString(16).padStart(2, "0");
  }
  return text;
}

/** The bytes of lower-case hexadecimal. */
export function fromHex(text, what) {
  if (text.length % 2 !== 0 || /[^0-9a-f]/.test(text)) {
    throw new FormatError(`${what} is not lower-case hexadecimal`);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  }
  return bytes;
}

/** A hash of 32 bytes in lower-case hexadecimal, as it is. */
export function hashText(text, what) {
  if (typeof text !== "string" || text.length !== 64 || /[^0-9a-f]/.test(text)) {
    throw new FormatError(`${what} is not a hash in lower-case hexadecimal`);
  }
  return text;
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The bytes of base64 in the standard alphabet with padding (RFC 4648, section 4), without line breaks or left-over bits. */
export function fromBase64(text, what) {
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const data = text.length - padding;
  // The last digit has 4 or 2 bits that belong to no byte.
  const spare = [0, 3, 15][padding];
  if (text.length % 4 !== 0 || /[^A-Za-z0-9+/]/.test(text.slice(0, data)) ||
      padding > 0 && (ALPHABET.indexOf(text[data - 1]) & spare) !== 0) {
    throw new FormatError(`${what} is not base64 in the standard alphabet with padding`);
  }
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = binary.charCodeAt(i);
  }
  return bytes;
}

/** Says why nothing can be checked here, or "" if it can. */
export function cannotCheck() {
  if (globalThis.crypto?.subtle) {
    return "";
  }
  return globalThis.isSecureContext === false
    ? "This page came over plain HTTP, and browsers keep their cryptography (WebCrypto) from such pages. Open it over HTTPS, or on localhost."
    : "This browser has no WebCrypto.";
}

/** SHA-256 of the parts, one after the other, in hexadecimal. */
export async function sha256(...parts) {
  let length = 0;
  for (const p of parts) {
    length += p.length;
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return toHex(new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", all)));
}

/**
 * Turns an ECDSA signature from the form of X.509 (RFC 3279, section 2.2.3: DER of SEQUENCE { r INTEGER, s INTEGER }) into that
 * of WebCrypto (IEEE P1363: r and s, 32 bytes each). DER is read strictly, as Go does.
 */
export function rawSignature(der) {
  const malformed = () => new FormatError("the signature is not an ECDSA signature in DER");
  // Two integers of up to 33 bytes have lengths below 128, which are one byte.
  if (der.length < 8 || der.length > 72 || der[0] !== 0x30 || der[1] !== der.length - 2) {
    throw malformed();
  }
  const raw = new Uint8Array(64);
  let at = 2;
  for (const end of [32, 64]) {
    const length = der[at + 1];
    if (der[at] !== 0x02 || !(length >= 1) || length > 33 || at + 2 + length > der.length) {
      throw malformed();
    }
    let number = der.subarray(at + 2, at + 2 + length);
    at += 2 + length;
    if (number[0] >= 0x80) { // negative
      throw malformed();
    }
    if (number[0] === 0) { // only where the number would be negative without it
      if (!(number[1] >= 0x80)) {
        throw malformed();
      }
      number = number.subarray(1);
    }
    if (number.length > 32) {
      throw malformed();
    }
    raw.set(number, end - number.length);
  }
  if (at !== der.length) {
    throw malformed();
  }
  return raw;
}
