// Merkle trees (RFC 6962, section 2.1). Sizes and indexes are exact integers below 2^53; no bit operations, which have 32 bits.
// A span is a run of leaves, {from, to}: from … to-1.

import { fromHex, sha256 } from "./bytes.js";
import { FormatError } from "./json.js";

/** SHA-256 of no bytes: the root of the empty tree. */
export const EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** The hash of a leaf with that body. */
export const leafHash = (body) => sha256(new Uint8Array([0]), body);

/** The hash of a node of the tree, over its children's. */
export const nodeHash = (left, right) => sha256(new Uint8Array([1]), fromHex(left, "a hash"), fromHex(right, "a hash"));

// The largest power of two below n; n is at least 2 (k of RFC 6962).
function splitPoint(n) {
  let k = 1;
  while (2 * k < n) {
    k *= 2;
  }
  return k;
}

/**
 * The spans whose hashes are the inclusion proof, leaf to root: PATH(m, D[n]). There are at most 53.
 *
 * @param {number} index 0 <= index < size
 */
export function inclusionSpans(index, size) {
  const spans = [];
  let from = 0;
  let to = size;
  while (to - from > 1) {
    const middle = from + splitPoint(to - from);
    if (index < middle) {
      spans.push({ from: middle, to });
      to = middle;
    } else {
      spans.push({ from, to: middle });
      from = middle;
    }
  }
  return spans.reverse();
}

/**
 * Computes the root that an inclusion proof leads to.
 *
 * @param {string} leaf its hash
 * @param {string[]} path the hashes, leaf to root
 * @returns {Promise<{root: string, nodes: {hash: string, left: boolean, from: number, to: number,
 *   made: string, madeFrom: number, madeTo: number}[]}>} each sibling with the leaves that it covers, whether it stands on the left, and
 *   the hash that is made of it and what was made before, with its leaves
 * @throws {FormatError} if the path is not as long as it has to be
 */
export async function climb(leaf, index, size, path) {
  if (index >= size) {
    throw new FormatError(`there is no leaf ${index} in a tree of size ${size}`);
  }
  const spans = inclusionSpans(index, size);
  if (path.length !== spans.length) {
    throw new FormatError(`the path has ${path.length} hashes, not the ${spans.length} between leaf ${index} and the root of a tree of size ${size}`);
  }
  let root = leaf;
  let covered = { from: index, to: index + 1 };
  const nodes = [];
  for (const [i, span] of spans.entries()) {
    const left = span.from < covered.from;
    root = left ? await nodeHash(path[i], root) : await nodeHash(root, path[i]);
    covered = { from: Math.min(span.from, covered.from), to: Math.max(span.to, covered.to) };
    nodes.push({ hash: path[i], left, ...span, made: root, madeFrom: covered.from, madeTo: covered.to });
  }
  return { root, nodes };
}

/**
 * Computes the two roots that a consistency proof leads to: SUBPROOF(m, D[n], true), read backwards.
 *
 * @param {number} first size of the older tree, 1 <= first <= second
 * @param {string} firstRoot is needed where the older tree is one node of the newer
 * @param {string[]} path
 * @returns {Promise<{first: string, second: string, nodes: object[]}>} the roots; and the nodes that they are made of, bottom
 *   to top: {hash, from, to, given}: given says that the hash is of the proof (or the first root), and not computed; shared says that
 *   the node is part of both trees
 * @throws {FormatError} if the path is not as long as it has to be
 */
export async function grow(first, firstRoot, second, path) {
  const nodes = [];
  let used = 0;
  const take = (span, shared) => {
    if (used === path.length) {
      throw new FormatError("the consistency proof is too short");
    }
    nodes.push({ hash: path[used], ...span, given: true, shared });
    return path[used++];
  };
  // known says that the older tree is all of the span.
  const both = async (from, to, known) => {
    if (first === to) {
      if (known) {
        nodes.push({ hash: firstRoot, from, to, given: true, shared: true });
        return { older: firstRoot, newer: firstRoot };
      }
      const hash = take({ from, to }, true);
      return { older: hash, newer: hash };
    }
    const middle = from + splitPoint(to - from);
    let roots;
    if (first <= middle) {
      const left = await both(from, middle, known);
      const right = take({ from: middle, to }, false);
      roots = { older: left.older, newer: await nodeHash(left.newer, right) };
    } else {
      const right = await both(middle, to, false);
      const left = take({ from, to: middle }, true);
      roots = { older: await nodeHash(left, right.older), newer: await nodeHash(left, right.newer) };
    }
    nodes.push({ hash: roots.newer, from, to, given: false, shared: false });
    return roots;
  };
  const roots = await both(0, second, true);
  if (used !== path.length) {
    throw new FormatError("the consistency proof is too long");
  }
  return { first: roots.older, second: roots.newer, nodes };
}
