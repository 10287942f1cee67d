// What the page knows: the fold of the events that it was given. Pure: no clock, no network, no document.

/** From the least final to the most final. */
export const TIERS = ['proposed', 'checkpointed', 'proven', 'finalized'];

const KEPT_SAMPLES = 4000;
const KEPT_EVENTS = 1000;
const KEPT_FORKS = 24;

const unknown = () => Object.fromEntries(TIERS.map((tier) => [tier, null]));

export class Model {
	constructor() {
		this.reset();
	}

	/** Forgets all but the log: that is what happened. */
	reset() {
		this.tips = unknown();
		/** The last block that was delivered. */
		this.head = null;
		/** The highest block ever: what the chart measures depth from. */
		this.top = 0;
		/** One for each moment at which a tier moved: its place on the x axis, the four heights, the top. */
		this.samples = [];
		this.prunes = [];
		this.forks = [];
		this.log ??= [];
		this.count ??= 0;
	}

	/** Stands at the last delivered block and the tiers that a `hello` or a `reset` has. */
	stand({ block, tips }, x) {
		this.head = block;
		if (block) this.saw(block);
		this.place(tips, x);
	}

	/** Sets every tier to what `tips` says. */
	place(tips, x) {
		for (const tier of TIERS) this.tips[tier] = tips[tier] ?? null;
		for (const tip of Object.values(this.tips)) if (tip) this.saw(tip.block);
		this.sample(x);
	}

	saw({ height }) {
		this.top = Math.max(this.top, height);
	}

	/** Takes in one event that came at `x`, and returns its entry in the log. */
	apply(event, x, at) {
		switch (event.event) {
			case 'blocks':
				this.saw(event.from);
				this.saw(event.to);
				this.head = event.to;
				break;
			case 'advanced':
			case 'regressed':
				this.tips[event.tier] = { block: event.block, checkpoint: event.checkpoint };
				this.saw(event.block);
				this.sample(x);
				break;
			case 'pruned':
				this.prune(event, x, at);
				break;
			case 'hello':
				if (event.resume !== 'reset') this.stand(event, x);
				break;
			case 'reset':
				this.reset();
				this.stand(event, x);
				break;
			default:
		}
		const entry = { number: ++this.count, at, event };
		this.log.push(entry);
		if (this.log.length > KEPT_EVENTS) this.log.shift();
		return entry;
	}

	prune(event, x, at) {
		const { to, depth } = event;
		if (depth > 0) {
			this.forks.push({ from: to.height + 1, to: to.height + depth, depth, at });
			if (this.forks.length > KEPT_FORKS) this.forks.shift();
		}
		this.prunes.push({ x, to: to.height, depth, at });
		this.head = to;
		this.place(event.tips, x);
	}

	sample(x) {
		const heights = TIERS.map((tier) => this.tips[tier]?.block.height ?? null);
		const last = this.samples.at(-1);
		// What moved at one moment is one step.
		if (last && last.x === x) Object.assign(last, { heights, top: this.top });
		else this.samples.push({ x, heights, top: this.top });
		if (this.samples.length > KEPT_SAMPLES) {
			this.samples.shift();
			while (this.prunes.length && this.prunes[0].x < this.samples[0].x) this.prunes.shift();
		}
	}

	/** The highest tier that a block at `height` has, or null. */
	tierAt(height) {
		for (const tier of TIERS.toReversed()) if (this.tips[tier]?.block.height >= height) return tier;
		return null;
	}
}

/** Blocks between a tier and the proposed tip, or null where either is not known. */
export function distance(tips, tier) {
	const [tip, top] = [tips[tier], tips.proposed];
	return tip && top ? Math.max(0, top.block.height - tip.block.height) : null;
}

const number = new Intl.NumberFormat('en');
export const count = (value) => (value == null ? '–' : number.format(value));
export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? '' : 's'}`;
export const short = (digest) => (digest ? `${digest.slice(0, 6)}…${digest.slice(-4)}` : '');

/** A duration in milliseconds, as people say it. */
export function span(ms) {
	if (ms == null || !Number.isFinite(ms)) return '–';
	const s = Math.max(0, ms) / 1000;
	if (s < 10) return `${s.toFixed(1)} s`;
	if (s < 120) return `${Math.round(s)} s`;
	if (s < 7200) return `${Math.round(s / 60)} min`;
	if (s < 172800) return `${Math.round(s / 3600)} h`;
	return `${Math.round(s / 86400)} days`;
}

/** The same as a time that has passed: what is new does not flicker. */
export const ago = (ms) => (ms < 2000 ? 'just now' : `${span(ms)} ago`);

/** A word of the protocol, for people. */
export const words = (name) => String(name ?? '').replaceAll('_', ' ');

/** An event as a sentence. */
export function sentence(event) {
	const at = (block) => `${count(block.height)} ${short(block.digest)}`;
	switch (event.event) {
		case 'blocks':
			return event.count === 1
				? `block ${at(event.to)}`
				: `${plural(event.count, 'block')}: ${count(event.from.height)} to ${at(event.to)}`;
		case 'advanced':
			return `${event.tier} is ${at(event.block)}`;
		case 'regressed':
			return `${event.tier} went back to ${at(event.block)}`;
		case 'pruned':
			return `${plural(event.depth, 'block')} undone, down to ${at(event.to)}`;
		case 'fault':
			return `${words(event.kind)} – ${event.source}: ${event.detail}`;
		case 'status':
			return words(event.state) + (event.cause ? ` (${words(event.cause)})` : '') + `, lag ${count(event.lag)}`;
		case 'hello':
			return `the server says hello, ${resumed(event)}`;
		case 'lagged':
			return 'this page fell behind: what it missed comes folded';
		case 'reset':
			return `history begins anew: ${words(event.code)}`;
		case 'goodbye':
			return `the server ends the stream: ${words(event.reason)}`;
		case 'bookmark':
			return `nothing new, ${words(event.state)}`;
		default:
			return words(event.event);
	}
}

function resumed({ resume, depth }) {
	if (resume === 'forked') return `and leads over ${depth ? `a fork of ${plural(depth, 'block')}` : 'from another history'}`;
	const said = { start: 'from its tip', exact: 'nothing was missed', ahead: 'but is behind what this page knows', reset: 'but history begins anew' };
	return said[resume] ?? words(resume);
}
