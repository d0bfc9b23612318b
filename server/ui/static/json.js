// A strict reader of JSON (RFC 8259). It differs from JSON.parse where two readers could see two things in the same
// text: an object may not name a member twice, text may not have lone surrogates, and numbers are not rounded.

const MAX_DEPTH = 64;

/** A number, as it was written. */
export class JSONNumber {
  constructor(text) {
    this.text = text;
  }
}

/** Text that is not what it has to be. The message is for people. */
export class FormatError extends Error {}

/**
 * Reads one JSON text that is all of the string. Objects become Maps, so that no member's name means anything to
 * JavaScript; numbers become JSONNumbers.
 *
 * @throws {FormatError}
 */
export function parseJSON(text) {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.space();
  if (reader.at !== text.length) {
    throw new FormatError(`something follows the JSON, at character ${reader.at}`);
  }
  return value;
}

const ESCAPES = new Map([['"', '"'], ["\\", "\\"], ["/", "/"], ["b", "\b"], ["f", "\f"], ["n", "\n"], ["r", "\r"], ["t", "\t"]]);
const WORDS = new Map([["t", ["true", true]], ["f", ["false", false]], ["n", ["null", null]]]);
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  fail(wanted) {
    throw new FormatError(this.at < this.text.length
      ? `not JSON: ${wanted} is wanted at character ${this.at}`
      : `not JSON: ${wanted} is wanted at its end`);
  }

  space() {
    for (;;) {
      const c = this.text[this.at];
      if (c !== " " && c !== "\t" && c !== "\n" && c !== "\r") {
        return;
      }
      this.at++;
    }
  }

  // next reads white space and then, if it follows, the character.
  next(c) {
    this.space();
    if (this.text[this.at] !== c) {
      return false;
    }
    this.at++;
    return true;
  }

  expect(c) {
    if (!this.next(c)) {
      this.fail(`“${c}”`);
    }
  }

  value(depth) {
    if (depth > MAX_DEPTH) {
      throw new FormatError(`JSON is nested deeper than ${MAX_DEPTH}`);
    }
    this.space();
    const c = this.text[this.at];
    if (c === "{") {
      return this.object(depth);
    }
    if (c === "[") {
      return this.array(depth);
    }
    if (c === '"') {
      return this.string();
    }
    const word = WORDS.get(c);
    if (word !== undefined) {
      if (!this.text.startsWith(word[0], this.at)) {
        this.fail(word[0]);
      }
      this.at += word[0].length;
      return word[1];
    }
    NUMBER.lastIndex = this.at;
    const number = NUMBER.exec(this.text);
    if (number === null) {
      this.fail("a value");
    }
    this.at += number[0].length;
    return new JSONNumber(number[0]);
  }

  object(depth) {
    const members = new Map();
    this.expect("{");
    if (this.next("}")) {
      return members;
    }
    do {
      this.space();
      const name = this.string();
      if (members.has(name)) {
        throw new FormatError(`member “${clip(name)}” is given twice`);
      }
      this.expect(":");
      members.set(name, this.value(depth + 1));
    } while (this.next(","));
    this.expect("}");
    return members;
  }

  array(depth) {
    const elements = [];
    this.expect("[");
    if (this.next("]")) {
      return elements;
    }
    do {
      elements.push(this.value(depth + 1));
    } while (this.next(","));
    this.expect("]");
    return elements;
  }

  string() {
    if (this.text[this.at] !== '"') {
      this.fail("a string");
    }
    const parts = [];
    let from = ++this.at;
    for (;;) {
      const c = this.text.charCodeAt(this.at);
      if (c === 0x22) { // "
        parts.push(this.text.slice(from, this.at++));
        break;
      }
      if (c === 0x5c) { // backslash
        parts.push(this.text.slice(from, this.at), this.escape());
        from = this.at;
      } else if (c >= 0x20) {
        this.at++;
      } else { // a control character, or NaN at the end
        this.fail("the rest of a string");
      }
    }
    const text = parts.length === 1 ? parts[0] : parts.join("");
    if (/\p{Surrogate}/u.test(text)) {
      throw new FormatError("a string is not Unicode text");
    }
    return text;
  }

  escape() {
    const c = this.text[this.at + 1];
    if (c === "u") {
      const digits = this.text.slice(this.at + 2, this.at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) {
        this.fail("an escape sequence");
      }
      this.at += 6;
      return String.fromCharCode(parseInt(digits, 16));
    }
    const meant = ESCAPES.get(c);
    if (meant === undefined) {
      this.fail("an escape sequence");
    }
    this.at += 2;
    return meant;
  }
}

/** At most 80 characters of a text that somebody else wrote. */
export function clip(text) {
  return text.length > 80 ? text.slice(0, 80) + "…" : text;
}

/**
 * Takes the members out of an object, each of which has to be read, and each only once: wanted maps the names that there
 * may be to readers of their values. A member that is null counts as left out.
 *
 * @param {*} value what parseJSON returned
 * @param {string} what names it in errors
 * @param {Object<string, function(*, string): *>} wanted
 * @returns {Map<string, *>} what the readers returned, by name
 * @throws {FormatError} also for a member that is not wanted: ignoring it would let two readers see two things
 */
export function readObject(value, what, wanted) {
  if (!(value instanceof Map)) {
    throw new FormatError(`${what} is not an object`);
  }
  const read = new Map();
  for (const [name, member] of value) {
    if (!Object.hasOwn(wanted, name)) {
      throw new FormatError(`${what} has no member “${clip(name)}”`);
    }
    if (member !== null) {
      read.set(name, wanted[name](member, name));
    }
  }
  return read;
}

/** Reads an array of at most max elements. */
export function readArray(value, what, max, element) {
  if (!Array.isArray(value)) {
    throw new FormatError(`${what} is not an array`);
  }
  if (value.length > max) {
    throw new FormatError(`${what} has more than ${max} elements`);
  }
  return value.map((v, i) => element(v, `${what}[${i}]`));
}

/** Reads text. */
export function readText(value, what) {
  if (typeof value !== "string") {
    throw new FormatError(`${what} is not a string`);
  }
  return value;
}

/** Reads a whole number from zero up that JavaScript can hold exactly, 2^53-1 at most. */
export function readWhole(value, what) {
  if (!(value instanceof JSONNumber)) {
    throw new FormatError(`${what} is not a number`);
  }
  return whole(value.text, what);
}

/** Reads decimal digits without sign or leading zeros, 2^53-1 at most. */
export function whole(text, what) {
  const number = /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(number)) {
    throw new FormatError(`${what}: ${clip(text)} is not a whole number from zero up, or too large to be handled exactly`);
  }
  return number;
}
