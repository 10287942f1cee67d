// Elements, made and changed without markup: what comes from a server is never more than text.

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
	const made = Object.assign(document.createElement(name), properties);
	made.append(...children.filter((child) => child != null));
	return made;
}

export function svg(name, attributes = {}, ...children) {
	const made = document.createElementNS('http://www.w3.org/2000/svg', name);
	for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
	made.append(...children);
	return made;
}

export function text(node, value) {
	if (node.textContent !== value) node.textContent = value;
}

/** Names and values in a list of definitions. */
export function pairs(list, facts) {
	while (list.children.length > facts.length) list.lastChild.remove();
	facts.forEach(([name, value], i) => {
		const pair = list.children[i] ?? list.appendChild(element('div', {}, element('dt'), element('dd')));
		text(pair.firstChild, name);
		text(pair.lastChild, value);
	});
}
