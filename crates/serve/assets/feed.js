// The stream of events, for as long as the page is open. It judges itself: the server sends something every 15
// seconds, so 45 seconds of silence are a broken connection, whatever the browser says.

const KINDS = ['blocks', 'advanced', 'regressed', 'pruned', 'hello', 'bookmark', 'lagged', 'reset', 'goodbye'];
const SILENT_MS = 45_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 15_000;

/**
 * `on.event(event)` gets every event, `on.feed(state)` what the feed thinks of itself: `connecting`, `open`,
 * `silent` or `gone`.
 */
export class Feed {
	constructor(on, { open = (url) => new EventSource(url), now = Date.now } = {}) {
		Object.assign(this, { on, open, now });
		this.cursor = null;
		this.state = null;
		this.failed = 0;
		this.retryAt = null;
		this.heard = this.tried = now();
	}

	start() {
		this.watchdog = setInterval(() => this.judge(), 1_000);
		this.connect();
	}

	connect() {
		this.source?.close();
		this.source = null;
		clearTimeout(this.timer);
		this.retryAt = null;
		this.tried = this.now();
		this.say(this.failed || this.state === 'silent' ? 'gone' : 'connecting');
		// The browser's own reconnections send the last id besides, which the server prefers.
		const query = new URLSearchParams({ mode: 'latest', ...(this.cursor ? { cursor: this.cursor } : { from: 'tip' }) });
		const source = this.open(`v1/events?${query}`);
		this.source = source;
		const mine = (handle) => (message) => source === this.source && handle(message);
		source.addEventListener('open', mine(() => this.alive()));
		source.addEventListener('error', mine(() => this.lost()));
		for (const kind of KINDS) source.addEventListener(kind, mine((message) => this.hear(message)));
	}

	alive() {
		this.heard = this.now();
		this.failed = 0;
		this.retryAt = null;
		this.say('open');
	}

	hear(message) {
		this.alive();
		// The browser repeats the id before where an event has none.
		if (message.lastEventId) this.cursor = message.lastEventId;
		let event;
		try {
			event = JSON.parse(message.data);
		} catch {
			return;
		}
		this.on.event(event);
	}

	/** The browser reconnects by itself after a cut, and gives up for good after an answer that is not a stream. */
	lost() {
		if (this.source.readyState === 2) this.again();
		else this.say('gone');
	}

	again() {
		this.source?.close();
		this.source = null;
		clearTimeout(this.timer);
		const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failed++);
		const wait = longest / 2 + (Math.random() * longest) / 2;
		this.retryAt = this.now() + wait;
		this.timer = setTimeout(() => this.connect(), wait);
		this.say('gone');
	}

	judge() {
		if (this.retryAt === null && this.now() - Math.max(this.heard, this.tried) > SILENT_MS) {
			this.say('silent');
			this.connect();
		}
	}

	say(state) {
		if (state === this.state) return;
		this.state = state;
		this.on.feed(state);
	}
}
