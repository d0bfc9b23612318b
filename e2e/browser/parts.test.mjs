import assert from "node:assert/strict";
import test from "node:test";
import { Forger, answers, growthOf, leafHash, load, pathOf, recorded, treeHash } from "./world.mjs";

const { checkConsistency, checkHistory, parseConsistency, parseLogInfo } = await load("proof.js");
const { readKeys } = await load("trust.js");
const { climb, inclusionSpans } = await load("merkle.js");
const { fromBase64, rawSignature } = await load("bytes.js");
const { parseJSON, JSONNumber } = await load("json.js");

const hex = (b) => b.toString("hex");
const leaves = Array.from({ length: 33 }, (_, n) => leafHash(Buffer.from(`leaf ${n}`)));

test("inclusion in trees of all sizes, as RFC 6962 has it", async () => {
  for (let size = 1; size <= leaves.length; size++) {
    const tree = leaves.slice(0, size);
    const root = hex(treeHash(tree));
    for (let m = 0; m < size; m++) {
      const path = pathOf(m, tree).map(hex);
      const made = await climb(hex(tree[m]), m, size, path);
      assert.equal(made.root, root);
      let covered = 1;
      for (const [i, n] of made.nodes.entries()) {
        assert.equal(hex(treeHash(tree.slice(n.from, n.to))), n.hash, "the leaves that a sibling covers");
        assert.equal(hex(treeHash(tree.slice(n.madeFrom, n.madeTo))), n.made);
        assert.equal(n.left, n.from < m);
        covered += n.to - n.from;
        assert.equal(n.madeTo - n.madeFrom, covered, `node ${i}`);
      }
      assert.equal(covered, size);
      for (const wrong of [m - 1, m + 1].filter((n) => n >= 0 && n < size)) {
        const other = await climb(hex(tree[m]), wrong, size, path).catch(() => ({ root: "" }));
        assert.notEqual(other.root, root);
      }
      await assert.rejects(climb(hex(tree[m]), m, size, [...path, root]), /path has/);
      await assert.rejects(climb(hex(tree[m]), size, size, path), /no leaf/);
    }
  }
});

test("spans of the largest trees", () => {
  const size = Number.MAX_SAFE_INTEGER;
  for (const index of [0, 1, 2 ** 31, 2 ** 32 + 1, 2 ** 52, size - 2, size - 1]) {
    const spans = inclusionSpans(index, size);
    assert.ok(spans.length <= 53);
    assert.equal(spans.reduce((n, s) => n + BigInt(s.to - s.from), 1n), BigInt(size));
  }
});

test("consistency between all sizes, as RFC 6962 has it", async () => {
  const head = (n) => ({ size: n, root: hex(treeHash(leaves.slice(0, n))) });
  for (let second = 1; second <= leaves.length; second++) {
    for (let first = 1; first <= second; first++) {
      const path = growthOf(first, leaves.slice(0, second)).map(hex);
      const good = await checkConsistency(head(first), head(second), path);
      assert.equal(good.verdict, "good", good.reason);
      for (const n of good.nodes) {
        assert.equal(hex(treeHash(leaves.slice(n.from, n.to))), n.hash, "the leaves that a node covers");
        assert.equal(n.given && n.shared, n.given && n.to <= first);
      }
      const bad = [
        [head(first), { ...head(second), root: "ff".repeat(32) }, path],
        [{ ...head(first), root: "ff".repeat(32) }, head(second), path],
        [head(first), head(second), [...path, hex(leaves[0])]],
        ...path.map((_, i) => [head(first), head(second), path.filter((_, j) => j !== i)]),
        ...path.map((_, i) => [head(first), head(second), path.map((h, j) => (i === j ? "ff".repeat(32) : h))]),
        ...(first < second ? [[head(second), head(first), path], [{ ...head(first), size: second }, head(second), path]] : []),
      ];
      for (const [a, b, p] of bad) {
        assert.equal((await checkConsistency(a, b, p)).verdict, "bad", `${first} ${second}`);
      }
    }
  }
  for (const wrong of [{ size: 0, root: head(1).root }, { size: 1.5, root: head(1).root }, { size: 2 ** 53, root: head(1).root }, { size: 1, root: "x" }, { size: NaN, root: head(1).root }]) {
    assert.equal((await checkConsistency(wrong, head(9), [])).verdict, "bad");
    assert.equal((await checkConsistency(head(1), wrong, [])).verdict, "bad");
  }
  assert.equal((await checkConsistency(head(3), head(9), Array(1000).fill(head(1).root))).verdict, "bad");
});

test("a history, up to the signed checkpoint", async (t) => {
  const forger = await Forger.make();
  const other = await Forger.make();
  const keys = await readKeys(forger.pem, "a test");
  const head = (n) => ({ size: n, root: hex(treeHash(leaves.slice(0, n))) });
  const proof = (a, b) => growthOf(a, leaves.slice(0, b)).map(hex);
  const sign = (by, n, origin = "log.example - 77", of = n) =>
    by.checkpoint(`${origin}\n${n}\n${treeHash(leaves.slice(0, of)).toString("base64")}\n`, origin.split(" ")[0]);
  const claim = async (change) => ({
    first: head(5), second: head(11), checkpoint: await sign(forger, 20), treeID: "77", between: proof(5, 11), after: proof(11, 20), ...change,
  });
  const good = await checkHistory(await claim({ kept: await sign(forger, 5) }), keys);
  assert.equal(good.verdict, "good", good.reason);
  assert.match(good.reason, /only grew/);
  // Without a checkpoint that was kept nothing is said of the past: a log that rewrote it answers as well.
  for (const change of [{}, { second: head(20), between: proof(5, 20), after: [] }]) {
    const now = await checkHistory(await claim(change), keys);
    assert.equal(now.verdict, "consistent");
    assert.match(now.reason, /that the log shows now, of size (11|20), begins with the tree of size 5 that it shows now\..* only a checkpoint that you kept/);
    assert.doesNotMatch(now.reason, /only grew/);
  }
  await t.test("the key has to be valid now", async () => {
    const [key] = keys;
    const now = 1700000000;
    const kept = await sign(forger, 5);
    for (const [from, to, is] of [[now, now, true], [now + 1, null, false], [null, now - 1, false]]) {
      const aged = [{ ...key, from, to }];
      assert.equal((await checkHistory(await claim({ kept }), aged, now)).verdict, is ? "good" : "bad");
      const result = await checkHistory(await claim({}), aged, now);
      assert.equal(result.verdict, is ? "consistent" : "bad");
      assert.ok(is || /not to be trusted for the present/.test(result.reason), result.reason);
    }
  });
  const bad = {
    "another key's checkpoint": { checkpoint: await sign(other, 20) },
    "another tree's checkpoint": { checkpoint: await sign(forger, 20, "log.example - 78") },
    "roots that the checkpoint does not bear out": { first: head(5), second: { size: 11, root: head(12).root } },
    "no proof up to the checkpoint": { after: [] },
    "a proof of other sizes": { between: proof(6, 11) },
    "a checkpoint kept from another key": { kept: await sign(other, 5) },
    "a checkpoint kept of another size": { kept: await sign(forger, 6) },
    "a checkpoint kept of another host": { kept: await sign(forger, 5, "other.example - 77") },
    "a checkpoint kept with another root": { kept: await sign(forger, 5, "log.example - 77", 6) },
    "a checkpoint kept with another size": { kept: await sign(forger, 6, "log.example - 77", 5) },
    "a checkpoint of another history": { kept: await sign(forger, 5), first: { size: 5, root: head(6).root } },
    "no checkpoint": { checkpoint: "" },
  };
  for (const [name, change] of Object.entries(bad)) {
    await t.test(`${name} is bad`, async () => {
      const result = await checkHistory(await claim(change), keys);
      assert.equal(result.verdict, "bad");
      assert.notEqual(result.reason, "");
    });
  }
});

test("answers about the log", () => {
  const shard = (id) => ({ rootHash: "00".repeat(32), signedTreeHead: `checkpoint ${id}`, treeID: id, treeSize: 3 });
  const info = (old) => JSON.stringify({ inactiveShards: old, ...shard("9") });
  assert.equal(parseLogInfo(info(null), "9"), "checkpoint 9");
  assert.equal(parseLogInfo(info([shard("7"), shard("8")]), "8"), "checkpoint 8");
  assert.throws(() => parseLogInfo(info(null), "8"), /no tree 8/);
  assert.throws(() => parseLogInfo("{}", "undefined"), /no tree/);
  assert.throws(() => parseLogInfo('{"x":1}', "9"), /no member/);
  assert.deepEqual(parseConsistency('{"hashes":[],"rootHash":"' + "00".repeat(32) + '"}'), []);
  assert.throws(() => parseConsistency('{"hashes":["00"]}'), /not a hash/);
  assert.throws(() => parseConsistency(JSON.stringify({ hashes: Array(65).fill("00".repeat(32)) })), /more than 64/);
});

test("ECDSA signatures are read as DER", () => {
  const der = (...bytes) => Uint8Array.from(bytes.flat());
  const n32 = Array(32).fill(0x7f);
  const ok = der(0x30, 68, 2, 32, n32, 2, 32, n32);
  assert.equal(hex(Buffer.from(rawSignature(ok))), "7f".repeat(64));
  assert.equal(hex(Buffer.from(rawSignature(der(0x30, 8, 2, 1, 5, 2, 3, 0, 0x80, 1)))), "05".padStart(64, "0") + "8001".padStart(64, "0"));
  const bad = [
    [], [0x30], [0x31, ...ok.slice(1)], [...ok, 0], ok.slice(0, -1), [0x30, 0x81, 68, ...ok.slice(2)], [0x30, 69, ...ok.slice(2)],
    [0x30, 8, 2, 1, 5, 2, 3, 0, 0x7f, 1], // a zero too many
    [0x30, 7, 2, 1, 5, 2, 2, 0x80, 1], // negative
    [0x30, 5, 2, 0, 2, 1, 1], [0x30, 6, 2, 1, 0, 2, 1, 0], // empty, zero
    [0x30, 6, 3, 1, 1, 2, 1, 1], [0x30, 70, 2, 34, 0, 0x80, ...n32, 2, 32, ...n32],
    [0x30, 69, 2, 33, 1, ...n32, 2, 32, ...n32], [0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1], [0x30, 6, 2, 4, 1, 2, 1, 1],
  ];
  for (const b of bad) {
    assert.throws(() => rawSignature(Uint8Array.from(b)), /not an ECDSA signature/, String(b));
  }
});

test("base64 has one text for one value", () => {
  for (const [text, bytes] of [["", ""], ["YQ==", "a"], ["YWI=", "ab"], ["YWJj", "abc"]]) {
    assert.equal(Buffer.from(fromBase64(text, "it")).toString(), bytes);
  }
  for (const text of ["YQ", "YQ=", "YR==", "YWJ=", "YWJjY", "=", "====", "YQ==YQ==", "Y Q=", "YQ==\n", "YW-_", "Y\u0661==", "=YQ=", "YQ=a"]) {
    assert.throws(() => fromBase64(text, "it"), /not base64/, text);
  }
});

test("JSON is read as RFC 8259 has it", () => {
  const texts = ["0", "-1.5e+3", '""', '"\\u00e9\\n\\"\\\\\\/ é \\ud83d\\ude00"', "[]", "{}", "[1,[2,{}],null,true,false]", ' { "a" : [ { "b" : "c" } ] }\t\r\n'];
  const plain = (v) => (v instanceof Map ? Object.fromEntries([...v].map(([k, x]) => [k, plain(x)])) : Array.isArray(v) ? v.map(plain) : v instanceof JSONNumber ? Number(v.text) : v);
  for (const text of texts) {
    assert.deepEqual(plain(parseJSON(text)), JSON.parse(text), text);
  }
  const wrong = ["", " ", "nul", "tru", "TRUE", "+1", "01", "1.", ".5", "1e", "--1", "'a'", '"\t"', '"\\x41"', '"\\u12"', '"', "[1,]", "[1 2]", '{"a"}', '{"a":1,}', "{a:1}", "{,}", "NaN", "Infinity", "[", "{", '{"a":', "1 2", "\u00a01", "\ufeff1", '"\\'];
  for (const text of wrong) {
    assert.throws(() => JSON.parse(text), SyntaxError, text);
    assert.throws(() => parseJSON(text), /JSON/, text);
  }
});

test("whatever the text, JSON.parse agrees or the difference is known", () => {
  const plain = (v) => (v instanceof Map ? Object.fromEntries([...v].map(([k, x]) => [k, plain(x)])) : Array.isArray(v) ? v.map(plain) : v instanceof JSONNumber ? Number(v.text) : v);
  let seed = 1;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  const alphabet = [..."{}[]:,\"\\/ \n\t0123456789-+.eEtrufalsn\u0000\u00e9", "\ud83d", "\ude00", "\\u00e9", "\\ud83d", '"a":', "null", "true"];
  let accepted = 0;
  for (let i = 0; i < 50000; i++) {
    const text = [...'{"a":[1,-2.5e3,"x\\n",{"b":null,"c":true}],"d":""}'];
    for (let n = random(4); n >= 0; n--) {
      text.splice(random(text.length), random(3), ...Array.from({ length: random(3) }, () => alphabet[random(alphabet.length)]));
    }
    const joined = text.join("");
    let theirs;
    let ours;
    try {
      theirs = JSON.parse(joined);
    } catch {
      assert.throws(() => parseJSON(joined), /./, joined);
      continue;
    }
    try {
      ours = parseJSON(joined);
    } catch (error) {
      assert.match(error.message, /given twice|not Unicode text/, joined);
      continue;
    }
    accepted++;
    assert.deepEqual(plain(ours), theirs, joined);
  }
  assert.ok(accepted > 1000, String(accepted));
});

test("keys", async (t) => {
  const pem = recorded("cosign/log.pub");
  const trust = answers["our dsse"].trust;
  const key64 = pem.split("\n").slice(1, -2).join("");
  const block = (der) => `-----BEGIN PUBLIC KEY-----\n${der.toString("base64")}\n-----END PUBLIC KEY-----\n`;
  const alter = (change) => {
    const root = JSON.parse(trust);
    change(root.tlogs[0], root);
    return JSON.stringify(root);
  };
  const [key] = await readKeys(pem, "a test");
  assert.deepEqual([key.id, key.source, key.from, key.to], ["b0374699ae98e019f38a18253f0fe702f8571601533bf0ddeb00650be5c53503", "a test", null, null]);
  const [same] = await readKeys(trust, "a test");
  assert.deepEqual([same.id, same.from, same.to], [key.id, Date.parse("2024-01-01T00:00:00Z") / 1000, null]);
  const [ending] = await readKeys(alter((log) => { log.publicKey.validFor.end = "2025-01-01T01:00:00.5+01:00"; }), "a test");
  assert.equal(ending.to, Date.parse("2025-01-01T00:00:00Z") / 1000 + 0.5);
  assert.equal((await readKeys(`\n${pem.replaceAll("\n", "\r\n")}\n`, "a test"))[0].id, key.id);
  assert.equal((await readKeys(recorded("public-good/trusted_root.json"), "a test"))[0].id, "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d");

  const bad = {
    "nothing": ["", /not one public key/],
    "two keys": [pem + pem, /not one public key/],
    "text around it": ["key:\n" + pem, /not one public key/],
    "a certificate": [pem.replaceAll("PUBLIC KEY", "CERTIFICATE"), /not one public key/],
    "a point that is not on the curve": [block(Buffer.from(key64.slice(0, -4) + "AA==", "base64")), /not a point/],
    "a point that is compressed": [block(Buffer.concat([Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex"), Buffer.alloc(33, 2)])), /not an ECDSA P-256/],
    "a key of P-384": [recorded("cosign/p384.pub"), /not an ECDSA P-256/],
    "an Ed25519 key": [recorded("cosign/ed25519.pub"), /not an ECDSA P-256/],
    "an RSA key": [recorded("cosign/rsa.pub"), /not an ECDSA P-256|not one public key/],
    "another media type": [alter((_, root) => { root.mediaType = "application/vnd.dev.sigstore.trustedroot.v0.2+json"; }), /mediaType/],
    "no media type": [alter((_, root) => { delete root.mediaType; }), /mediaType/],
    "no logs": [alter((_, root) => { root.tlogs = []; }), /no log with/],
    "a member that is not known": [alter((log) => { log.more = 1; }), /no member/],
    "another ID": [alter((log) => { log.logId.keyId = "AAAA"; }), /but that of its key/],
    "no ID": [alter((log) => { delete log.logId; }), /missing/],
    "no key": [alter((log) => { delete log.publicKey; }), /missing/],
    "no start": [alter((log) => { delete log.publicKey.validFor.start; }), /start is missing/],
    "no window": [alter((log) => { delete log.publicKey.validFor; }), /start is missing/],
    "a day that is not": [alter((log) => { log.publicKey.validFor.start = "2024-02-30T00:00:00Z"; }), /RFC 3339/],
    "a date": [alter((log) => { log.publicKey.validFor.start = "2024-01-01"; }), /RFC 3339/],
    "a window that ends first": [alter((log) => { log.publicKey.validFor.end = "2020-01-01T00:00:00Z"; }), /ends before/],
    "another hash": [alter((log) => { log.hashAlgorithm = "SHA2_512"; }), /hashAlgorithm/],
    "another checkpoint key": [alter((log) => { log.checkpointKeyId = { keyId: "AAAAAA==" }; }), /checkpointKeyId/],
    "the log twice": [alter((log, root) => { root.tlogs.push(log); }), /two logs/],
    "a member given twice": [trust.replace('"tlogs":', '"tlogs":[],"tlogs":'), /given twice/],
    "another type of key": [alter((log) => { log.publicKey.keyDetails = "PKIX_ED25519"; }), /no log with/],
    "a key that is not P-256": [alter((log) => { log.publicKey.rawBytes = "AAAA"; }), /not an ECDSA P-256/],
  };
  for (const [name, [text, reason]] of Object.entries(bad)) {
    await t.test(`${name} is refused`, () => assert.rejects(readKeys(text, "a test"), reason));
  }
});
