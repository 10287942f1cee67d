// Playing back the past: the log of events is the history. Pages are asked for as they are needed, and folded
// by a model of their own; the live feed goes on behind.
import { Model, count } from './model.js';

const PAGE = 500;

export class Playback {
	speed = 40;
	paused = false;
	run = 0;

	constructor(on) {
		this.on = on;
	}

	/** From after `cursor`, or from the oldest event that is kept. */
	async start(cursor) {
		const run = ++this.run;
		const model = new Model();
		const goes = () => run === this.run;
		const tell = (more) => goes() && this.on.tell(`${count(model.count)} events${more}`);
		this.paused = false;
		this.on.show(model);
		try {
			for (let page; goes() && (page = await this.page(cursor)).events.length; cursor = page.cursor) {
				let last = performance.now();
				for (let owed = 0; goes() && page.events.length; ) {
					await new Promise(requestAnimationFrame);
					const now = performance.now();
					if (!this.paused) owed += ((now - last) / 1000) * this.speed;
					last = now;
					for (; owed >= 1 && page.events.length; owed--) model.apply(page.events.shift(), model.count + 1, null);
					this.on.changed();
					tell(`${model.head ? `, at block ${count(model.head.height)}` : ''}${this.paused ? ', paused' : ''}`);
				}
			}
			tell(', the end of what is kept');
		} catch (error) {
			tell(`: ${error.message}`);
		}
	}

	async page(cursor) {
		const query = new URLSearchParams({ limit: PAGE, ...(cursor ? { cursor } : { from: 'earliest' }) });
		const answer = await fetch(`v1/events?${query}`, { headers: { accept: 'application/json' } });
		const body = await answer.json();
		if (!answer.ok) throw new Error(body.detail);
		return body;
	}

	pause() {
		return (this.paused = !this.paused);
	}

	stop() {
		this.run++;
		this.on.show(null);
	}
}
