// Making of HTML elements: attributes and text only, so that nothing that a stranger wrote is ever read as HTML.

/**
 * Returns a new element.
 *
 * @param {string} name
 * @param {Object<string, string>} attributes
 * @param {...(Node|string)} children
 */
export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
