// Playing back the past: the log of events is the history. Pages are asked for as they are needed, and folded
// by a model of their own; the live feed goes on behind.
import { Model, count } from './model.js';

const PAGE = 500;

export class Playback {
  constructor(on) {
    this.on = on;
    this.speed = 40;
    this.paused = false;
    this.run = 0;
  }

  /** From after `cursor`, or from the oldest event that is kept. */
  async start(cursor) {
    const run = ++this.run;
    const model = new Model();
    this.paused = false;
    this.on.show(model);
    this.on.tell('asking …');
    let owed = 0;
    let events = [];
    let ended = false;
    let last = performance.now();
    try {
      while (run === this.run) {
        if (!events.length && !ended) {
          const page = await this.page(cursor);
          events = page.events;
          ended = events.length === 0 || page.cursor === cursor;
          cursor = page.cursor ?? cursor;
          last = performance.now();
        }
        if (!events.length) break;
        await new Promise((next) => requestAnimationFrame(next));
        const now = performance.now();
        if (!this.paused) owed += ((now - last) / 1000) * this.speed;
        last = now;
        for (; owed >= 1 && events.length && run === this.run; owed--) {
          model.apply(events.shift(), model.count + 1, null);
          this.on.changed();
        }
        const head = model.head ? `, at block ${count(model.head.height)}` : '';
        if (run === this.run) this.on.tell(`${count(model.count)} events${head}${this.paused ? ', paused' : ''}`);
      }
      if (run === this.run) this.on.tell(`${count(model.count)} events, the end of what is kept`);
    } catch (error) {
      if (run === this.run) this.on.tell(error.message);
    }
  }

  async page(cursor) {
    const query = new URLSearchParams(cursor ? { cursor } : { from: 'earliest' });
    query.set('limit', PAGE);
    const answer = await fetch(`v1/events?${query}`, { headers: { accept: 'application/json' } });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.detail ?? body.title ?? body.code ?? `the server answers ${answer.status}`);
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
