// Pictures of proofs, in SVG. Everything is made with createElementNS, attributes and textContent; the page's style sheet
// gives colours by class, and without one the pictures are black lines.

const SVG = "http://www.w3.org/2000/svg";

const BOX = { width: 86, height: 42 }; // three beside each other fit a telephone
const GAP = { across: 6, up: 30 };

let pictures = 0;

/** An SVG element. children are elements, or one text. */
function make(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, String(value));
  }
  element.append(...children);
  return element;
}

const short = (hash) => hash.slice(0, 8) + "…";
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const compactly = (n) => (n < 100000 ? String(n) : compact.format(n));

/** Which leaves a node covers, in words. */
function leaves(from, to, number = String) {
  return to - from === 1 ? `leaf ${number(from)}` : `leaves ${number(from)}–${number(to - 1)}`;
}

/** The same so that it fits a box. */
function few(from, to) {
  const text = leaves(from, to, compactly);
  return text.length > 15 ? text.replace("leaves ", "") : text;
}

/** A picture with a title and a description, which screen readers read instead of it. */
function picture(width, height, title, description, parts) {
  const id = `tree-${++pictures}`;
  return make("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img", class: "tree", "aria-labelledby": `${id}-title ${id}-desc`,
  }, make("title", { id: `${id}-title` }, title), make("desc", { id: `${id}-desc` }, description), ...parts);
}

/** A node: a box with a label and the beginning of its hash. Its title has all of both. */
function node(x, y, kind, label, hash, whole) {
  const middle = x + BOX.width / 2;
  return make("g", { class: kind },
    make("title", {}, `${whole}: ${hash}`),
    make("rect", { class: `tree-node ${kind}`, x, y, width: BOX.width, height: BOX.height, rx: 6, fill: "none", stroke: "currentColor" }),
    make("text", { class: "tree-hash", x: middle, y: y + 18, "text-anchor": "middle", "font-size": 12, "font-family": "ui-monospace, monospace", fill: "currentColor" }, short(hash)),
    make("text", { class: "tree-label", x: middle, y: y + 33, "text-anchor": "middle", "font-size": 10.5, fill: "currentColor" }, label));
}

/**
 * Draws an inclusion proof: the leaf at the bottom, what is made of it above, the root at the top, and each hash of the proof on its
 * side.
 *
 * @param {object} path of checkEntry
 * @returns {SVGElement}
 */
export function drawInclusion(path) {
  const { leaf, index, size, nodes, root, wanted } = path;
  const good = root === wanted;
  const rows = nodes.length + 1 + (good ? 0 : 1);
  const step = BOX.height + GAP.up;
  const width = 3 * BOX.width + 2 * GAP.across + 2;
  const height = rows * step - GAP.up + 2;
  const column = (n) => 1 + n * (BOX.width + GAP.across);
  const row = (n) => height - 1 - BOX.height - n * step; // counted from the bottom
  const top = (n) => [column(1) + BOX.width / 2, row(n) + BOX.height];
  const edges = [];
  const boxes = [];
  const edge = (from, n, kind) => {
    const [x, y] = top(n);
    const start = column(from) + BOX.width / 2;
    const bend = y + GAP.up / 2;
    edges.push(make("path", { class: `tree-edge ${kind}`, d: `M${start} ${row(n - 1)}V${bend}H${x}V${y}`, fill: "none", stroke: "currentColor" }));
  };

  const kindOfRoot = good ? "is-root" : "is-bad";
  boxes.push(node(column(1), row(0), nodes.length === 0 ? kindOfRoot : "is-leaf", "this entry", leaf, `this entry, leaf ${index}`));
  nodes.forEach((n, i) => {
    const side = n.left ? 0 : 2;
    const isRoot = i === nodes.length - 1;
    edge(1, i + 1, "is-made");
    edge(side, i + 1, "is-sibling");
    boxes.push(node(column(side), row(i), "is-sibling", few(n.from, n.to), n.hash, `from the log: ${leaves(n.from, n.to)}`));
    boxes.push(node(column(1), row(i + 1), isRoot ? kindOfRoot : "is-made", isRoot ? `root, size ${compactly(size)}` : few(n.madeFrom, n.madeTo),
      n.made, isRoot ? `root of ${size} leaves, computed here` : `computed here: ${leaves(n.madeFrom, n.madeTo)}`));
  });
  if (!good) {
    boxes.push(node(column(1), row(rows - 1), "is-root", "the signed root", wanted, "the root in the checkpoint"));
    const [x, y] = top(rows - 1);
    edges.push(make("text", { class: "tree-label is-bad", x, y: y + GAP.up / 2 + 6, "text-anchor": "middle", "font-size": 18, fill: "currentColor" }, "≠"));
  }
  const description = `From leaf ${index} at the bottom, ${nodes.length} hash${nodes.length === 1 ? "" : "es"} from the log lead${nodes.length === 1 ? "s" : ""} up to the root of a tree with ${size} leaves. ` +
    (good ? "It is the root in the checkpoint." : "It is not the root in the checkpoint.");
  return picture(width, height, "Path from the entry to the root of the tree", description, [...edges, ...boxes]);
}

/** The same in sentences, leaf to root. */
export function tellInclusion(path) {
  const told = [`The entry is leaf ${path.index}, with hash ${path.leaf}.`];
  for (const n of path.nodes) {
    told.push(`With ${n.hash} on the ${n.left ? "left" : "right"} (${leaves(n.from, n.to)}) it makes ${n.made} (${leaves(n.madeFrom, n.madeTo)}).`);
  }
  told.push(path.root === path.wanted
    ? `${path.root} is the root in the checkpoint, of a tree with ${path.size} leaves.`
    : `${path.root} is not the root in the checkpoint, ${path.wanted}.`);
  return told;
}

const LINE = 28;
const BARS = { from: 142, width: 130 };

/** The rows of the picture of a consistency proof: the given nodes, left to right, and the roots made of them. */
function growthRows(first, second, nodes) {
  const given = nodes.filter((n) => n.given).sort((a, b) => a.from - b.from);
  return [
    ...given.map((n) => ({ ...n, kind: n.shared ? "is-first" : "is-sibling", what: n.shared ? "in both trees" : "new" })),
    { hash: first.root, from: 0, to: first.size, kind: "is-first", what: `root of size ${first.size}` },
    { hash: second.root, from: 0, to: second.size, kind: "is-root", what: `root of size ${second.size}` },
  ];
}

/**
 * Draws a consistency proof: a row for each hash, with a bar over the leaves that it covers. Runs of leaves that no row divides are
 * one column, however many they are.
 *
 * @param {{size: number, root: string}} first
 * @param {{size: number, root: string}} second
 * @param {object[]} nodes of checkConsistency
 * @returns {SVGElement}
 */
export function drawConsistency(first, second, nodes) {
  const rows = growthRows(first, second, nodes);
  const marks = [...new Set(rows.flatMap((r) => [r.from, r.to]))].sort((a, b) => a - b);
  const x = (leaf) => BARS.from + (BARS.width * marks.indexOf(leaf)) / (marks.length - 1);
  const parts = rows.flatMap((r, i) => {
    const y = i * LINE + 2;
    return [make("g", { class: r.kind },
      make("title", {}, `${r.what}, ${leaves(r.from, r.to)}: ${r.hash}`),
      make("text", { class: "tree-hash", x: 0, y: y + 11, "font-size": 12, "font-family": "ui-monospace, monospace", fill: "currentColor" }, short(r.hash)),
      make("text", { class: "tree-label", x: 0, y: y + 23, "font-size": 10.5, fill: "currentColor" }, `${r.what.startsWith("root") ? r.what : `${few(r.from, r.to)}, ${r.what}`}`),
      make("rect", { class: `tree-node ${r.kind}`, x: x(r.from) + 1, y: y + 3, width: Math.max(x(r.to) - x(r.from) - 2, 2), height: LINE - 10, rx: 3, fill: "none", stroke: "currentColor" }))];
  });
  return picture(BARS.from + BARS.width + 2, rows.length * LINE + 4, `The tree of size ${second.size} extends that of size ${first.size}`,
    `${rows.length - 2} hashes, each over a run of leaves. Those in both trees make the root of size ${first.size}; with the new ones they make the root of size ${second.size}.`, parts);
}

/** The same in sentences. */
export function tellConsistency(first, second, nodes) {
  return growthRows(first, second, nodes).map((r) => `${leaves(r.from, r.to)}: ${r.hash}, ${r.what}.`);
}
