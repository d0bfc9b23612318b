import assert from "node:assert/strict";
import test from "node:test";
import { Forger, answers, body, load } from "./world.mjs";

const { checkEntry } = await load("proof.js");
const { readKeys } = await load("trust.js");

const keysOf = (answer) => readKeys(answer.trust, "a test");
const names = ["read", "leaf", "path", "head", "key", "signature", "timestamp"];

for (const [name, answer] of Object.entries(answers)) {
  test(`${name} is good`, async () => {
    const result = await checkEntry(answer.text, await keysOf(answer));
    assert.equal(result.verdict, "good", result.reason);
    assert.deepEqual(result.steps.map((s) => s.name).slice(0, 7), names);
    assert.ok(result.steps.every((s) => s.ok === true && s.words !== "" && s.title !== ""));
    assert.equal(result.path.root, result.path.wanted);
    const uuid = Object.keys(JSON.parse(answer.text))[0];
    for (const asked of [{ uuid }, { uuid: uuid.slice(16) }, { logIndex: result.entry.logIndex }]) {
      assert.equal((await checkEntry(Buffer.from(answer.text), await keysOf(answer), asked)).verdict, "good");
    }
    for (const asked of [{ uuid: uuid.replace(/.$/, (c) => (c === "0" ? "1" : "0")) }, { uuid: "" }, { logIndex: result.entry.logIndex + 1 }]) {
      assert.equal((await checkEntry(answer.text, await keysOf(answer), asked)).verdict, "bad");
    }
  });

  // One change is of no meaning: to leave out the new line after the JSON. There are no others.
  test(`${name} with any byte changed is bad`, async () => {
    const keys = await keysOf(answer);
    const bytes = Buffer.from(answer.text);
    const good = [];
    const see = async (changed, what) => {
      const { verdict } = await checkEntry(changed, keys);
      if (verdict !== "bad") {
        good.push(what);
      }
    };
    for (let i = 0; i < bytes.length; i++) {
      for (const flip of [0x01, 0x20, 0x80]) {
        const changed = Buffer.from(bytes);
        changed[i] ^= flip;
        await see(changed, `byte ${i} ^ ${flip}`);
      }
      await see(Buffer.concat([bytes.subarray(0, i), bytes.subarray(i + 1)]), `byte ${i} left out`);
    }
    assert.deepEqual(good, answer.text.endsWith("\n") ? [`byte ${bytes.length - 1} left out`] : []);
  });

  test(`${name} cut short is bad`, async () => {
    const keys = await keysOf(answer);
    const bytes = Buffer.from(answer.text.trimEnd());
    for (let i = 0; i < bytes.length; i += 7) {
      assert.equal((await checkEntry(bytes.subarray(0, i), keys)).verdict, "bad");
    }
  });

  test(`${name} is bad with every other answer's keys`, async () => {
    for (const other of Object.values(answers).filter((o) => o.trust !== answer.trust)) {
      const result = await checkEntry(answer.text, await keysOf(other));
      assert.equal(result.verdict, "bad");
      assert.match(result.reason, /none of the keys/);
      assert.equal(result.steps.find((s) => s.name === "signature").ok, null);
    }
    assert.equal((await checkEntry(answer.text, [])).verdict, "bad");
  });
}

test("parts of one answer in another are bad", async () => {
  const all = Object.values(answers).map((a) => a.text);
  for (const to of Object.values(answers)) {
    const keys = await keysOf(to);
    for (const from of all.filter((text) => text !== to.text)) {
      const [other] = Object.values(JSON.parse(from));
      const uuid = Object.keys(JSON.parse(to.text))[0];
      const swap = async (change) => {
        const e = JSON.parse(to.text)[uuid];
        change(e);
        const text = JSON.stringify({ [uuid]: e });
        if (text !== JSON.stringify(JSON.parse(to.text))) { // the two may have the part in common
          assert.equal((await checkEntry(text, keys)).verdict, "bad", String(change));
        }
      };
      await swap((e) => { e.body = other.body; });
      await swap((e) => { e.integratedTime = other.integratedTime; });
      await swap((e) => { e.logID = other.logID; });
      await swap((e) => { e.logIndex = other.logIndex; });
      await swap((e) => { e.verification = other.verification; });
      await swap((e) => { e.verification.inclusionProof = other.verification.inclusionProof; });
      await swap((e) => { e.verification.signedEntryTimestamp = other.verification.signedEntryTimestamp; });
      for (const part of ["checkpoint", "hashes", "logIndex", "rootHash", "treeSize"]) {
        await swap((e) => { e.verification.inclusionProof[part] = other.verification.inclusionProof[part]; });
      }
      await swap((e) => { e.attestation = other.attestation ?? { data: "YQ==" }; });
    }
  }
});

/** Alterations of a good answer that are bad, and the reason that has to be given. */
const alterations = {
  "no SET": [(e) => { delete e.verification.signedEntryTimestamp; }, /no signed entry timestamp/],
  "no proof": [(e) => { delete e.verification.inclusionProof; }, /no inclusion proof/],
  "proof null": [(e) => { e.verification.inclusionProof = null; }, /no inclusion proof/],
  "no verification": [(e) => { delete e.verification; }, /no signed entry timestamp/],
  "no body": [(e) => { delete e.body; }, /missing: bodyText/],
  "no root": [(e) => { delete e.verification.inclusionProof.rootHash; }, /missing: root/],
  "a member that is not known": [(e) => { e.more = 1; }, /no member/],
  "a path cut short": [(e) => { e.verification.inclusionProof.hashes.pop(); }, /path has/],
  "a path with one more": [(e) => { e.verification.inclusionProof.hashes.push("00".repeat(32)); }, /path has/],
  "a path of 1000": [(e) => { e.verification.inclusionProof.hashes = Array(1000).fill("00".repeat(32)); }, /more than 64/],
  "a path upside down": [(e) => { e.verification.inclusionProof.hashes.reverse(); }, /lead to the root/],
  "no path": [(e) => { e.verification.inclusionProof.hashes = null; }, /path has 0/],
  "another index in the tree": [(e) => { e.verification.inclusionProof.logIndex--; }, /lead to the root|path has/],
  "an index beyond the tree": [(e) => { e.logIndex = 1e6; e.verification.inclusionProof.logIndex = 1e6; }, /no leaf/],
  "an index larger than the log's": [(e) => { e.logIndex = e.verification.inclusionProof.logIndex - 1; }, /less than/],
  "another size": [(e) => { e.verification.inclusionProof.treeSize++; }, /checkpoint has size|path has|lead to/],
  "size 0": [(e) => { e.verification.inclusionProof.treeSize = 0; }, /no leaf/],
  "time 0": [(e) => { e.integratedTime = 0; }, /time is zero/],
  "a time beyond the year 9999": [(e) => { e.integratedTime = 253402300800; }, /beyond the year/],
  "a negative index": [(e) => { e.logIndex = -1; }, /not a whole number/],
  "a fraction": [(e) => { e.logIndex = 1.5; }, /not a whole number/],
  "an index as text": [(e) => { e.logIndex = "1"; }, /not a number/],
  "an upper-case log ID": [(e) => { e.logID = e.logID.toUpperCase(); }, /lower-case/],
  "hashes in upper case": [(e) => { e.verification.inclusionProof.hashes[0] = "AB".repeat(32); }, /lower-case/],
  "base64 with a line break": [(e) => { e.body = e.body.slice(0, 4) + "\n" + e.body.slice(4); }, /base64/],
  "base64 for URLs": [(e) => { e.verification.signedEntryTimestamp = e.verification.signedEntryTimestamp.replaceAll("+", "-").replaceAll("/", "_").replace(/^./, "-"); }, /base64/],
  "base64 without padding": [(e) => { e.body = "YQ"; }, /base64/],
  "base64 with left-over bits": [(e) => { e.body = "YR=="; }, /base64/],
  "a checkpoint with CR LF": [(e) => { e.verification.inclusionProof.checkpoint = e.verification.inclusionProof.checkpoint.replaceAll("\n", "\r\n"); }, /control characters/],
  "a checkpoint with two signatures": [(e) => { e.verification.inclusionProof.checkpoint += e.verification.inclusionProof.checkpoint.split("\n\n")[1]; }, /exactly one signature/],
  "a checkpoint with another's name": [(e) => { e.verification.inclusionProof.checkpoint = e.verification.inclusionProof.checkpoint.replace("\n— ", "\n— x"); }, /signed under the name/],
  "a checkpoint without signature": [(e) => { e.verification.inclusionProof.checkpoint = e.verification.inclusionProof.checkpoint.split("— ")[0]; }, /exactly one signature/],
  "a long checkpoint": [(e) => { e.verification.inclusionProof.checkpoint = "x\n".repeat(10000); }, /more than/],
  "a list for a body": [(e) => { e.body = []; }, /not a string/],
};

for (const [name, [alter, reason]] of Object.entries(alterations)) {
  test(`${name} is bad`, async () => {
    const answer = answers["our dsse"];
    const [[uuid, e]] = Object.entries(JSON.parse(answer.text));
    alter(e);
    const result = await checkEntry(JSON.stringify({ [uuid]: e }), await keysOf(answer));
    assert.equal(result.verdict, "bad");
    assert.match(result.reason, reason);
  });
}

/** Texts that JSON.parse would take, or take for something else. */
const texts = {
  "a member given twice": [(t) => t.replace('"logIndex":', '"logIndex":0,"logIndex":'), /given twice/],
  "a member given twice, escaped": [(t) => t.replace('"logIndex":', '"log\\u0049ndex":0,"logIndex":'), /given twice/],
  "two entries": [(t) => t.trimEnd().replace(/\}$/, `,"${"1".repeat(80)}":{}}`), /not one log entry/],
  "the entry twice": [(t) => t.trimEnd().replace(/^\{(.*)\}$/s, "{$1,$1}"), /given twice/],
  "no entry": [() => "{}", /not one log entry/],
  "null": [() => "null", /not one log entry/],
  "a list": [(t) => `[${t}]`, /not one log entry/],
  "nothing": [() => "", /not JSON/i],
  "an index beyond 2^53": [(t) => t.replace(/"logIndex":\d+,"v/, '"logIndex":9007199254740993,"v'), /too large to be handled exactly/],
  "a huge number": [(t) => t.replace(/"treeSize":\d+/, `"treeSize":${"9".repeat(1000)}`), /too large to be handled exactly/],
  "1e1": [(t) => t.replace(/"treeSize":\d+/, '"treeSize":1e1'), /not a whole number/],
  "-0": [(t) => t.replace(/"treeSize":\d+/, '"treeSize":-0'), /not a whole number/],
  "a number with a leading zero": [(t) => t.replace(/"treeSize":(\d+)/, '"treeSize":0$1'), /not JSON/i],
  "__proto__ as a member": [(t) => t.replace('"logIndex":', '"__proto__":{"verdict":"good"},"logIndex":'), /no member “__proto__”/],
  "constructor as a member": [(t) => t.replace('"logIndex":', '"constructor":1,"logIndex":'), /no member “constructor”/],
  "__proto__ as the ID": [(t) => t.replace(/"[0-9a-f]{80}"/, '"__proto__"'), /not an entry ID/],
  "tree ID 0": [(t) => t.replace(/"[0-9a-f]{16}/, `"${"0".repeat(16)}`), /not an entry ID/],
  "an ID in upper case": [(t) => t.replace(/"[0-9a-f]{80}"/, (id) => id.toUpperCase()), /not an entry ID/],
  "the leaf hash as the ID": [(t) => t.replace(/"[0-9a-f]{16}/, '"'), /not an entry ID/],
  "another tree": [(t) => t.replace(/"[0-9a-f]{16}/, '"1000000000000001'), /but the entry's ID is of tree/],
  "something after it": [(t) => t + "{}", /something follows/i],
  "a byte order mark": [(t) => "\ufeff" + t, /not JSON/i],
  "a lone surrogate": [(t) => t.replace("127.0.0.1", "\\ud800"), /not Unicode/],
  "deep nesting": [(t) => t.replace(/"treeSize":\d+/, `"treeSize":${"[".repeat(100000)}`), /nested deeper/],
  "a comment": [(t) => t + "// true", /something follows/i],
  "a comma at the end": [(t) => t.trimEnd().replace(/\}$/, ",}"), /not JSON/i],
};

for (const [name, [alter, reason]] of Object.entries(texts)) {
  test(`${name} is bad`, async () => {
    const answer = answers["our dsse"];
    const text = alter(answer.text);
    assert.notEqual(text, answer.text);
    const result = await checkEntry(text, await keysOf(answer));
    assert.equal(result.verdict, "bad");
    assert.match(result.reason, reason);
    assert.equal({}.verdict, undefined);
  });
}

test("bytes that are not UTF-8 are bad", async () => {
  const result = await checkEntry(Buffer.from([0x7b, 0xff, 0x7d]), []);
  assert.match(result.reason, /not UTF-8/);
  const answer = answers["our dsse"];
  const marked = Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(answer.text)]);
  assert.match((await checkEntry(marked, await keysOf(answer))).reason, /not JSON/i);
});

// What a log could sign, and is wrong all the same.
test("a log that lies", async (t) => {
  const forger = await Forger.make();
  const keys = await readKeys(forger.pem, "a test");
  const bodies = Array.from({ length: 13 }, (_, n) => body(n));
  const verdict = async (m, change, changed) => checkEntry(JSON.stringify(await forger.answer(m, bodies, change, changed)), keys);

  for (let m = 0; m < bodies.length; m++) {
    assert.equal((await verdict(m)).verdict, "good");
  }
  assert.equal((await verdict(3, (p) => ({ ...p, lines: "Timestamp: 1\n" }))).verdict, "good", "further lines are allowed");
  assert.equal((await verdict(3, (p) => ({ ...p, global: 1003 }))).verdict, "good", "older shards count");

  const lies = {
    "another root": [(p) => ({ ...p, root: Buffer.alloc(32) }), /lead to the root/],
    "a body with another in the tree": [(p) => ({ ...p, body: Buffer.from(body(99)) }), /lead to the root/],
    "another name in the signature line": [(p) => ({ ...p, name: "other.example" }), /signed under the name/],
    "an origin without tree ID": [(p) => ({ ...p, origin: "forger.example" }), /is not “<host> - <tree ID>”/],
    "a tree ID beyond 63 bits": [(p) => ({ ...p, origin: "forger.example - 9999999999999999999" }), /is not “<host> - <tree ID>”/],
    "a tree ID with a sign": [(p) => ({ ...p, origin: "forger.example - +77" }), /is not “<host> - <tree ID>”/],
    "a tree ID with a leading zero": [(p) => ({ ...p, origin: "forger.example - 077" }), /is not “<host> - <tree ID>”/],
    "another tree ID": [(p) => ({ ...p, origin: "forger.example - 78" }), /is of tree 78/],
    "an empty line": [(p) => ({ ...p, lines: "\nx\n" }), /exactly one signature|empty one/],
    "a size with a leading zero": [(p) => ({ ...p, size: "013" }), /whole number/],
    "a body that is not JSON": [(p) => ({ ...p, body: Buffer.from("not JSON") }), /not JSON/i],
    "a body with a member twice": [(p) => ({ ...p, body: Buffer.from('{"apiVersion":"0.0.1","kind":"a","kind":"b","spec":{}}') }), /given twice/],
    "an index of the log below the tree's": [(p) => ({ ...p, global: 2 }), /less than/],
    "the ID of another leaf": [(p) => ({ ...p, id: Buffer.alloc(32) }), /not that of this entry/],
    "a checkpoint with another root": [(p) => ({ ...p, signedRoot: Buffer.alloc(32) }), /checkpoint has size 13 and root 0000/],
    "a checkpoint with another size": [(p) => ({ ...p, signedSize: 14 }), /checkpoint has size 14/],
    "a short root": [(p) => ({ ...p, signedRoot: Buffer.alloc(31) }), /its root is not a hash/],
  };
  for (const [name, [change, reason]] of Object.entries(lies)) {
    await t.test(`${name} is bad`, async () => {
      const result = await verdict(3, change);
      assert.equal(result.verdict, "bad");
      assert.match(result.reason, reason);
    });
  }

  await t.test("a signature by another key is bad", async () => {
    const other = await Forger.make();
    other.id = forger.id; // and says that it were the log's
    const result = await checkEntry(JSON.stringify(await other.answer(3, bodies)), keys);
    assert.equal(result.verdict, "bad");
    assert.deepEqual(result.steps.filter((s) => s.ok === false).map((s) => s.name), ["signature", "timestamp"]);
  });

  await t.test("only the SET by another key is bad", async () => {
    const other = await Forger.make();
    other.id = forger.id;
    const [theirs] = Object.values(await other.answer(3, bodies));
    const result = await verdict(3, undefined, (answer) => {
      Object.values(answer)[0].verification.signedEntryTimestamp = theirs.verification.signedEntryTimestamp;
      return answer;
    });
    assert.equal(result.verdict, "bad");
    assert.deepEqual(result.steps.filter((s) => s.ok === false).map((s) => s.name), ["timestamp"]);
  });

  await t.test("only the checkpoint by another key is bad", async () => {
    const other = await Forger.make();
    other.id = forger.id;
    const [theirs] = Object.values(await other.answer(3, bodies));
    const result = await verdict(3, undefined, (answer) => {
      Object.values(answer)[0].verification.inclusionProof.checkpoint = theirs.verification.inclusionProof.checkpoint;
      return answer;
    });
    assert.equal(result.verdict, "bad");
    assert.deepEqual(result.steps.filter((s) => s.ok === false).map((s) => s.name), ["signature"]);
  });

  await t.test("a key hint of another key is bad", async () => {
    const result = await verdict(3, undefined, (answer) => {
      const p = Object.values(answer)[0].verification.inclusionProof;
      p.checkpoint = p.checkpoint.replace(/(— \S+ )(\S+)/, (_, name, line) => {
        const raw = Buffer.from(line, "base64");
        raw[0] ^= 1;
        return name + raw.toString("base64");
      });
      return answer;
    });
    assert.match(result.reason, /names another key/);
  });

  await t.test("a path drawn on the wrong side is told", async () => {
    const result = await verdict(3, (p) => ({ ...p, index: 2, global: 3 }));
    assert.equal(result.verdict, "bad");
    assert.notEqual(result.path.root, result.path.wanted);
  });

  await t.test("a key out of its time is bad", async () => {
    for (const [from, to, good] of [[1700000000, null, true], [1700000001, null, false], [0, 1700000000, true], [0, 1699999999, false]]) {
      const [key] = keys;
      const result = await checkEntry(JSON.stringify(await forger.answer(3, bodies)), [{ ...key, from, to }]);
      assert.equal(result.verdict, good ? "good" : "bad");
    }
  });

  await t.test("a time that is yet to come is bad", async () => {
    for (const [now, good] of [[1700000000 - 86400, true], [1700000000 - 86401, false]]) {
      const result = await checkEntry(JSON.stringify(await forger.answer(3, bodies)), keys, {}, now);
      assert.equal(result.verdict, good ? "good" : "bad");
      assert.ok(good || /yet to come/.test(result.reason), result.reason);
    }
  });

  await t.test("attestations", async () => {
    const { createHash } = await import("node:crypto");
    const payload = Buffer.from("a statement");
    const hash = { algorithm: "sha256", value: createHash("sha256").update(payload).digest("hex") };
    const cases = [
      ["dsse", { payloadHash: hash }, payload, true],
      ["intoto", { content: { payloadHash: hash } }, payload, true],
      ["dsse", { payloadHash: hash }, Buffer.from("another"), false],
      ["dsse", { content: { payloadHash: hash } }, payload, false],
      ["intoto", { payloadHash: hash }, payload, false],
      ["hashedrekord", { payloadHash: hash }, payload, false],
      ["dsse", { payloadHash: { ...hash, algorithm: "sha512" } }, payload, false],
      ["dsse", {}, payload, false],
      ["dsse", { payloadHash: hash }, Buffer.alloc(0), false],
    ];
    for (const [kind, spec, attestation, good] of cases) {
      const made = [...bodies];
      made[3] = JSON.stringify({ apiVersion: "0.0.1", kind, spec });
      const answer = await forger.answer(3, made);
      Object.values(answer)[0].attestation = { data: attestation.toString("base64") };
      assert.equal((await checkEntry(JSON.stringify(answer), keys)).verdict, good ? "good" : "bad", JSON.stringify(spec));
    }
  });
});

test("without WebCrypto the verdict is unknown, with the reason", async () => {
  const { crypto } = globalThis;
  const answer = answers["our dsse"];
  const keys = await keysOf(answer);
  try {
    Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true, writable: true });
    const result = await checkEntry(answer.text, keys);
    assert.equal(result.verdict, "unknown");
    assert.match(result.reason, /no WebCrypto/);
    Object.defineProperty(globalThis, "isSecureContext", { value: false, configurable: true });
    assert.match((await checkEntry(answer.text, keys)).reason, /plain HTTP/);
  } finally {
    Object.defineProperty(globalThis, "crypto", { value: crypto, configurable: true, writable: true });
    delete globalThis.isSecureContext;
  }
});
