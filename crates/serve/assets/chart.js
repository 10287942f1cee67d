// The two drawings: the tide (tiers over time) and the strip (the newest blocks, and what was undone beside them).
// Colours, widths and dashes are the stylesheet's; here are only shapes.
import { svg } from './dom.js';
import { TIERS, ago, count } from './model.js';

/** Each tier has a shape as well as a colour: circle, square, triangle, diamond. */
export function mark(tier, x, y, r = 5) {
	const d = {
		proposed: `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
		checkpointed: `M${x - r * 0.85} ${y - r * 0.85}h${r * 1.7}v${r * 1.7}h${-r * 1.7}z`,
		proven: `M${x} ${y - r}l${r} ${r * 1.85}h${-2 * r}z`,
		finalized: `M${x} ${y - r * 1.2}l${r * 1.2} ${r * 1.2}l${-r * 1.2} ${r * 1.2}l${-r * 1.2} ${-r * 1.2}z`,
	}[tier];
	return svg('path', { d, class: `mark ${tier}` });
}

/** Round values between `low` and `high`, about `many`. */
export function ticks(low, high, many) {
	const rough = Math.max((high - low) / many, 1);
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
	const found = [];
	for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(value);
	return found;
}

/**
 * What is to be drawn between `from` and `to`: of each tier its steps, and the range of values. `by` is `depth`
 * (blocks below the highest block that was ever seen) or `height`.
 */
export function plot(model, from, to, by) {
	const { samples } = model;
	// The last step before the window reaches into it.
	let first = samples.findIndex((sample) => sample.x > from);
	first = first < 0 ? samples.length - 1 : Math.max(0, first - 1);
	const seen = samples.slice(Math.max(0, first));
	const value = (sample, height) => (by === 'depth' ? height - sample.top : height);
	const lines = TIERS.map((_, i) => {
		const points = [];
		for (const sample of seen) {
			const height = sample.heights[i];
			const y = height == null ? null : value(sample, height);
			const last = points.at(-1);
			if (!last || last.y !== y) points.push({ x: Math.max(sample.x, from), y });
		}
		return points;
	});
	const all = lines.flat().map((point) => point.y).filter((y) => y != null);
	let [low, high] = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
	if (by === 'depth') [low, high] = [Math.min(low, -4), 0];
	else if (high - low < 4) low = high - 4;
	const prunes = model.prunes.filter((prune) => prune.x >= from && prune.x <= to);
	return { lines, low, high, prunes };
}

function steps(points, px, py, end) {
	let d = '';
	let pen = false;
	let y = null;
	for (const point of points) {
		if (point.y == null) {
			if (pen) d += `H${px(point.x)}`;
			pen = false;
			continue;
		}
		d += pen ? `H${px(point.x)}V${py(point.y)}` : `M${px(point.x)} ${py(point.y)}`;
		[pen, y] = [true, point.y];
	}
	if (pen) d += `H${px(end)}`;
	return { d, y: pen ? y : null };
}

/** A flag for each prune; those that would touch have one between them, which names the deepest. */
function notches(prunes, px, top, bottom, right) {
	const groups = [];
	for (const prune of prunes) {
		const x = px(prune.x);
		const last = groups.at(-1);
		if (last && x - last.x < 30) last.push(prune);
		else groups.push(Object.assign([prune], { x }));
	}
	return groups.map((group) => {
		const depth = Math.max(...group.map((prune) => prune.depth));
		const text = `${group.length > 1 ? `${group.length} × up to ` : ''}−${count(depth)}`;
		const before = group.x + text.length * 7 > right;
		const lines = group.map((prune) => svg('path', { d: `M${px(prune.x)} ${top - 8}V${bottom}` }));
		const flag = svg('path', { d: `M${group.x - 5} ${top - 16}h10l-5 8z`, class: 'flag' });
		const place = { x: group.x + (before ? -9 : 9), y: top - 9, class: before ? 'right' : '' };
		return svg('g', { class: 'notch' }, ...lines, flag, svg('text', place, text));
	});
}

export class Tide {
	constructor(element) {
		this.element = element;
		/** Where the reader points, as a share of the width, or null. */
		this.pointer = null;
		element.addEventListener('pointermove', (event) => {
			const box = element.getBoundingClientRect();
			this.pointer = event.clientX - box.left;
		});
		element.addEventListener('pointerleave', () => (this.pointer = null));
		element.addEventListener('keydown', (event) => {
			const step = { ArrowLeft: -8, ArrowRight: 8 }[event.key];
			if (event.key === 'Escape') this.pointer = null;
			if (!step) return;
			event.preventDefault();
			this.pointer = Math.max(0, (this.pointer ?? element.clientWidth * 0.75) + step);
		});
		element.addEventListener('blur', () => (this.pointer = null));
	}

	/** Draws `from` to `to`; `label(x)` names a place on the x axis. */
	draw(model, { from, to, by, label }) {
		const [width, height] = [this.element.clientWidth, this.element.clientHeight];
		if (!width) return;
		const narrow = width < 560;
		const edge = { left: 8, right: narrow ? 32 : 128, top: 30, bottom: 24 };
		const right = width - edge.right;
		const bottom = height - edge.bottom;
		const { lines, low, high, prunes } = plot(model, from, to, by);
		const round = (value) => Math.round(value * 10) / 10;
		const px = (x) => round(edge.left + ((Math.min(Math.max(x, from), to) - from) / (to - from)) * (right - edge.left));
		const py = (y) => round(edge.top + ((high - y) / (high - low || 1)) * (bottom - edge.top));
		const parts = [];
		for (const tick of ticks(low, high, narrow ? 4 : 5)) {
			const y = py(tick);
			parts.push(svg('path', { d: `M${edge.left} ${y}H${right}`, class: 'grid' }));
			const text = by === 'depth' ? (tick === 0 ? 'tip' : `−${count(-tick)}`) : count(tick);
			parts.push(svg('text', { x: edge.left, y: y - 4, class: 'tick' }, text));
		}
		const many = narrow ? 3 : 6;
		for (let i = 0; i < many; i++) {
			const x = from + ((to - from) * (i + 0.5)) / many;
			parts.push(svg('text', { x: px(x), y: height - 6, class: 'tick middle' }, label(x)));
		}
		const drawn = lines.map((points) => steps(points, px, py, to));
		const water = drawn.at(-1);
		if (water.y != null) {
			const start = px(lines.at(-1).find((point) => point.y != null).x);
			parts.push(svg('path', { d: `${water.d}V${bottom}H${start}Z`, class: 'water' }));
		}
		drawn.forEach(({ d }, i) => d && parts.push(svg('path', { d, class: `line ${TIERS[i]}` })));
		parts.push(...notches(prunes, px, edge.top, bottom, right));
		parts.push(...this.ends(drawn, right, bottom, py, narrow));
		if (this.pointer !== null) parts.push(...this.cross(model, from, to, px, edge, right, bottom, label));
		this.element.replaceChildren(...parts);
	}

	/** The names at the ends of the lines, moved apart where they would touch. */
	ends(drawn, right, bottom, py, narrow) {
		const found = drawn
			.map(({ y }, i) => ({ tier: TIERS[i], y }))
			.filter(({ y }) => y != null)
			.map((end) => ({ ...end, at: py(end.y) }))
			.toSorted((a, b) => a.at - b.at);
		let limit = -Infinity;
		for (const end of found) limit = end.y = Math.max(end.at, limit + 15);
		limit = bottom + 18;
		for (const end of found.toReversed()) limit = (end.y = Math.min(end.y, limit)) - 15;
		return found.map(({ tier, at, y }) =>
			svg(
				'g',
				{ class: `end ${tier}` },
				svg('path', { d: `M${right} ${at}L${right + 10} ${y}`, class: 'lead' }),
				mark(tier, right + 16, y, 4.5),
				svg('text', { x: right + 26, y: y + 4 }, narrow ? '' : tier),
			),
		);
	}

	cross(model, from, to, px, edge, right, bottom, label) {
		const x = Math.min(Math.max(this.pointer, edge.left), right);
		const at = from + ((x - edge.left) / (right - edge.left)) * (to - from);
		const sample = model.samples.findLast((sample) => sample.x <= at);
		if (!sample) return [];
		const rows = TIERS.map((tier, i) => [tier, sample.heights[i]]).filter(([, height]) => height != null).reverse();
		const wide = 122 + Math.max(...rows.map(([, height]) => count(height).length)) * 7;
		const left = x + wide + 12 > right ? x - wide - 10 : x + 10;
		const box = svg('g', { class: 'cross' }, svg('path', { d: `M${x} ${edge.top}V${bottom}` }));
		const panel = svg('rect', { x: left, y: edge.top + 4, width: wide, height: 26 + rows.length * 17, rx: 6 });
		box.append(panel, svg('text', { x: left + 10, y: edge.top + 22, class: 'when' }, label(at)));
		rows.reverse().forEach(([tier, height], i) => {
			const y = edge.top + 40 + i * 17;
			box.append(mark(tier, left + 14, y - 4, 4), svg('text', { x: left + 24, y }, tier));
			box.append(svg('text', { x: left + wide - 10, y, class: 'right' }, count(height)));
		});
		return [box];
	}
}

const LANES = 3;

export class Strip {
	constructor(element) {
		this.element = element;
	}

	/** `now` and the times of forks are in milliseconds. */
	draw(model, now) {
		const { clientWidth: width, clientHeight: height } = this.element;
		if (!width) return;
		const narrow = width < 560;
		const pitch = narrow ? 10 : 11;
		const size = pitch - 2;
		const many = Math.min(200, Math.floor((width - 4) / pitch));
		const parts = [];
		const head = model.head?.height;
		if (head == null) {
			this.element.replaceChildren();
			return;
		}
		// Room for what was undone above the head.
		const undone = Math.max(head, ...model.forks.filter((fork) => fork.to - head < many / 3).map((fork) => fork.to));
		const last = Math.max(undone, many - 1);
		const first = last - many + 1;
		const px = (h) => 2 + (h - first) * pitch;
		const y = 18;
		for (let h = Math.max(first, 0); h <= head; h++) {
			const tier = model.tierAt(h) ?? 'none';
			parts.push(svg('rect', { x: px(h), y, width: size, height: 18, rx: 2, class: `block ${tier}` }));
		}
		for (const tier of TIERS) {
			const at = model.tips[tier]?.block.height;
			if (at != null && at >= first && at <= last) parts.push(mark(tier, px(at) + size / 2, y - 9, 4));
		}
		const every = narrow ? 10 : 20;
		for (let h = Math.ceil(Math.max(first, 0) / every) * every; h <= last; h += every) {
			const x = px(h) + size / 2;
			if (x > 36 && x < width - 36) parts.push(svg('text', { x, y: y + 33, class: 'tick middle' }, count(h)));
		}
		parts.push(...this.forks(model, first, last, now, px, size));
		this.element.replaceChildren(...parts);
		const list = TIERS.filter((tier) => model.tips[tier]).map((tier) => `${tier} ${model.tips[tier].block.height}`);
		const forks = model.forks.filter((fork) => fork.to >= first).length;
		this.element.setAttribute('aria-label', `Blocks ${Math.max(first, 0)} to ${head}: ${list.join(', ')}; ${forks} undone branches`);
		this.element.style.setProperty('--lanes', Math.min(LANES, forks));
	}

	/** The newest branches that were undone, each in the first lane that has room for it. */
	forks(model, first, last, now, px, size) {
		const ends = Array(LANES).fill(Infinity);
		const parts = [];
		const stems = [];
		for (const fork of model.forks.toReversed()) {
			if (fork.to < first) continue;
			const text = `−${count(fork.depth)}${fork.at === null ? '' : `, ${ago(now - fork.at)}`}`;
			const [from, to] = [Math.max(fork.from, first), Math.min(fork.to, last)];
			// The words stand on the right of the branch, or on its left where the strip ends.
			const wide = text.length * 6.6 + 12;
			const before = px(to) + wide > px(last);
			const left = before ? px(from) - wide : px(from);
			const right = before ? px(to) + size : px(to) + size + wide;
			const lane = ends.findIndex((end) => right <= end);
			if (lane < 0) continue;
			ends[lane] = left - 8;
			const y = 62 + lane * 24;
			const group = svg('g', { class: 'fork' });
			stems.push(svg('path', { d: `M${px(from) - 2} 37V${y + 7}H${px(from)}`, class: 'stem' }));
			for (let h = from; h <= to; h++) {
				group.append(svg('rect', { x: px(h), y, width: size, height: 14, rx: 2, class: 'block lost' }));
			}
			const x = before ? px(from) - 8 : px(to) + size + 6;
			group.append(svg('text', { x, y: y + 11, class: before ? 'right' : '' }, text));
			parts.push(group);
		}
		return [...stems, ...parts];
	}
}
