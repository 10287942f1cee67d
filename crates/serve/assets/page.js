// The live page: one stream of events, folded by the model, drawn by charts and lists.
import { Strip, Tide, mark } from './chart.js';
import { $, element, pairs, svg, text } from './dom.js';
import { Feed } from './feed.js';
import { Model, TIERS, ago, count, distance, plural, sentence, short, span, words } from './model.js';
import { Playback } from './playback.js';
import { explain } from './proof.js';

const STATUS_EVERY_MS = 10_000;
const SHOWN_EVENTS = 200;
const KINDS = ['blocks', 'tiers', 'undone', 'faults', 'state', 'stream'];
const GROUP = {
	blocks: 'blocks', advanced: 'tiers', regressed: 'undone', pruned: 'undone', fault: 'faults', status: 'state',
};
const STATES = {
	live: ['good', ''],
	catching_up: ['work', 'History is being taken in.'],
	lagging: ['warn', 'The source is ahead of what was taken in.'],
	stale: ['warn', 'The newest block is old by its own time: the chain stands still, or the source does.'],
	blind: ['bad', 'No source has answered lately. What is shown is what was last known.'],
	conflicted: ['bad', 'Two blocks were final at one height. Nothing goes on until somebody decides.'],
};

const clock = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const icon = (tier) => svg('svg', { viewBox: '-7 -7 14 14', 'aria-hidden': true }, mark(tier, 0, 0, 5.5));

const live = new Model();
let shown = live;
let status = {};
let statusAt = 0;
let state = { name: null, since: null };
let moved = {};
let faults = null;
let counts = [];
let speedFrom = null;
let dirty = true;
let logged = 0;
const view = { by: 'depth', window: 300_000, off: new Set(['stream']), filter: '' };
const tide = new Tide($('tide'));
const strip = new Strip($('strip'));

// --- what comes in ---

async function json(path) {
	const answer = await fetch(path, { headers: { accept: 'application/json' }, cache: 'no-store' });
	if (answer.status === 401 && !$('token').open) $('token').showModal();
	if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
	return answer.json();
}

/** The token becomes a cookie that no script can read: a stream sends no other headers. */
$('show').addEventListener('submit', async (event) => {
	event.preventDefault();
	const authorization = `Bearer ${$('shown').value}`;
	const answer = await fetch('v1/session', { method: 'POST', headers: { authorization } }).catch(() => ({}));
	if (!answer.ok) return text($('wrong'), answer.status === 401 ? 'That is not it.' : 'The server does not answer.');
	$('token').close();
	feed.connect();
	ask();
});

async function askStatus() {
	const answer = await json('v1/status');
	status = answer;
	statusAt = Date.now();
	said(answer);
	dirty = true;
}

/** Faults are in no stream: they move no tip. */
async function askFaults() {
	const answer = await json('v1/faults');
	const { newest } = answer;
	({ counts } = answer);
	parts.drawn = null;
	for (const { number, kind, source, detail } of newest.slice(faults === null ? -20 : 0)) {
		if (number < faults) continue;
		live.apply({ event: 'fault', kind, source, detail }, Date.now(), faults === null ? null : Date.now());
	}
	faults = Math.max(faults ?? 0, ...newest.map((fault) => fault.number + 1));
}

function ask() {
	askStatus().catch(() => {});
	askFaults().catch(() => {});
}

/** A state, whoever says it: the status, a `status` event, a bookmark. */
function said(word) {
	if (word.state && word.state !== state.name) {
		state = { name: word.state, since: word.since_ms == null ? Date.now() : Date.now() - word.since_ms };
		speedFrom = null;
	}
	for (const key of ['state', 'lag', 'source_height', 'cause', 'tip_age_ms', 'verification']) {
		if (key in word) status[key] = word[key];
		else if (word.event && key === 'cause') delete status[key];
	}
	if ('tip_age_ms' in word) statusAt = Date.now();
}

const feed = new Feed({
	event(event) {
		const at = Date.now();
		if (event.event === 'bookmark') {
			const { state: name, cause } = event;
			if (name !== state.name || cause !== status.cause) {
				live.apply({ event: 'status', state: name, lag: event.lag, ...(cause && { cause }) }, at, at);
				askFaults().catch(() => {});
			}
			said(event);
		}
		if (event.event === 'hello') {
			Object.assign(status, { chain: event.chain, version: event.version });
			ask();
		}
		if (event.event === 'advanced' || event.event === 'regressed') moved[event.tier] = at;
		if (event.event === 'advanced' && event.tier === 'proposed') {
			status.source_height = Math.max(status.source_height ?? 0, event.block.height);
			[status.tip_age_ms, statusAt] = [Math.min(status.tip_age_ms ?? 0, 1_000), at];
		}
		live.apply(event, at, at);
		dirty = true;
	},
	feed() {
		dirty = true;
	},
});

// --- what is shown ---

function headline(now) {
	const gone = feed.state === 'gone' || feed.state === 'silent';
	const connecting = feed.state === 'connecting' || !state.name;
	let [tone, why] = STATES[state.name] ?? ['', ''];
	let name = words(state.name);
	if (gone) {
		[tone, name] = ['bad', 'server gone'];
		const when = feed.retryAt ? `, trying again in ${span(Math.max(0, feed.retryAt - now))}` : ', trying again';
		why = `Nothing was heard for ${span(now - feed.heard)}${when}. What is shown is what was last known.`;
	} else if (connecting) [tone, name, why] = ['', 'connecting', ''];
	else if (status.cause) why = `${why} ${CAUSES[status.cause] ?? `Cause: ${words(status.cause)}.`}`.trim();
	text($('state').lastChild, name);
	$('state').className = `state ${tone}`;
	text($('why'), why);
	document.body.classList.toggle('away', gone);
	const head = live.head?.height;
	document.title = `${name}${head == null ? '' : ` ${count(head)}`} – Tidewatch`;
	const lag = status.source_height == null || head == null ? status.lag : Math.max(0, status.source_height - head);
	const facts = [['lag', lag == null ? '–' : plural(lag, 'block')]];
	const age = status.tip_age_ms == null ? null : status.tip_age_ms + (now - statusAt);
	if (age != null) facts.push(['tip age', span(age)]);
	if (state.since) facts.push([`${words(state.name)} for`, span(now - state.since)]);
	if (status.verification) facts.push(['epoch', count(status.verification.epoch)]);
	pairs($('facts'), facts);
	$('feed').className = `feed ${feed.state}`;
	text($('feed').lastChild, { open: `heard ${ago(now - feed.heard)}`, connecting: 'connecting' }[feed.state] ?? 'server gone');
	text($('chain'), status.chain ?? '');
	text($('version'), status.version ? `Tidewatch ${status.version}` : '');
	progress(now, gone);
}

const CAUSES = {
	tip_ahead: 'The newest block is ahead of this machine’s clock.',
	clock_set_back: 'This machine’s clock was set back.',
	proving_stalled: 'The lowest block that is not proven is poisoned, or waits for too long.',
};

function progress(now, gone) {
	const bar = $('progress');
	const at = live.head?.height;
	const goal = status.source_height;
	bar.hidden = gone || state.name !== 'catching_up' || at == null || !goal;
	if (bar.hidden) return;
	speedFrom ??= { at, now };
	const speed = ((at - speedFrom.at) / (now - speedFrom.now)) * 1000;
	bar.firstChild.value = Math.min(1, (at - speedFrom.at) / (goal - speedFrom.at) || 0);
	bar.firstChild.setAttribute('aria-label', 'Taken in');
	const rest = goal - at;
	const eta = speed > 0 && now - speedFrom.now > 3_000 ? `, ${plural(Math.round(speed), 'block')} a second, ${span((rest / speed) * 1000)} to go` : '';
	text(bar.lastChild, `${count(at)} of ${count(goal)}${eta}`);
}

function tiers(now) {
	const cards = TIERS.toReversed().map((tier) => {
		const tip = shown.tips[tier];
		const card = $(`tier-${tier}`) ?? newCard(tier);
		card.disabled = !tip;
		const [height, behind, digest, ask] = card.parts;
		text(height, tip ? count(tip.block.height) : '–');
		const gap = distance(shown.tips, tier);
		const since = moved[tier] && shown === live ? `moved ${ago(now - moved[tier])}` : '';
		if (!tip) text(behind, 'not known');
		else text(behind, tier === 'proposed' ? 'the tip' : gap ? `${plural(gap, 'block')} behind` : 'at the tip');
		text(digest, since);
		text(ask, tip ? short(tip.block.digest) : '');
		card.title = tip ? `${tip.block.digest}: why?` : '';
		return card;
	});
	if (!$('tiers').children.length) $('tiers').append(...cards);
}

function newCard(tier) {
	const card = element('button', { id: `tier-${tier}`, className: `tier ${tier}`, type: 'button' });
	const [height, behind, moved, digest] = ['height', '', '', 'mono'].map((className) => element('span', { className }));
	card.append(
		element('span', { className: 'name' }, icon(tier), tier),
		height,
		element('span', { className: 'more' }, behind, moved),
		element('span', { className: 'more' }, digest, element('span', { className: 'ask', textContent: `why ${tier}?` })),
	);
	card.parts = [height, behind, moved, digest];
	card.addEventListener('click', () => shown.tips[tier] && explain(tier, shown.tips[tier], status));
	return card;
}

function charts(now) {
	if (shown === live) {
		const label = (x) => clock.format(x);
		// It begins narrow, and widens to the window as there is more to show.
		const began = live.samples[0]?.x ?? now;
		const wide = Math.min(view.window, Math.max(now - began, 20_000));
		tide.draw(live, { from: now - wide, to: now, by: view.by, label });
	} else {
		const to = Math.max(shown.count, 60);
		tide.draw(shown, { from: Math.max(0, to - 600), to, by: view.by, label: (x) => `event ${count(Math.round(x))}` });
	}
	strip.draw(shown, now);
}

function log() {
	const list = $('log');
	const entries = shown.log;
	const newest = entries.at(-1)?.number ?? 0;
	if (logged === newest && list.model === shown) return;
	if (list.model !== shown || logged > newest) {
		list.replaceChildren();
		logged = 0;
		list.model = shown;
	}
	const fresh = entries.slice(-SHOWN_EVENTS * 2).filter((entry) => entry.number > logged && wanted(entry.event));
	logged = newest;
	list.querySelector('.empty')?.remove();
	list.prepend(...fresh.slice(-SHOWN_EVENTS).reverse().map(row));
	while (list.children.length > SHOWN_EVENTS) list.lastChild.remove();
	if (!list.children.length) list.append(element('li', { className: 'empty', textContent: 'Nothing yet of what you filter for.' }));
}

function wanted(event) {
	if (view.off.has(GROUP[event.event] ?? 'stream')) return false;
	return !view.filter || JSON.stringify(event).toLowerCase().includes(view.filter) || sentence(event).toLowerCase().includes(view.filter);
}

function row({ at, event }) {
	const tools = element('span', { className: 'tools' });
	if (event.cursor) {
		const copy = element('button', { type: 'button', textContent: 'copy cursor', title: event.cursor });
		copy.addEventListener('click', () => copied(event.cursor));
		const play = element('button', { type: 'button', textContent: 'replay' });
		play.addEventListener('click', () => startPlayback(event.cursor));
		tools.append(copy, play);
	}
	const tier = event.tier;
	const kind = element('span', { className: `kind ${tier ?? ''}` }, tier ? icon(tier) : svg('svg'), words(event.event));
	const time = at == null ? '' : clock.format(at);
	return element('li', { className: event.event }, element('time', { textContent: time }), kind, element('span', { className: 'said', textContent: sentence(event) }), tools);
}

async function copied(cursor) {
	try {
		await navigator.clipboard.writeText(cursor);
		text($('told'), 'Cursor copied.');
	} catch {
		// Not allowed without TLS off loopback: then it is where it can be copied by hand.
		$('from').value = cursor;
		$('from').select();
	}
}

// --- upstream, consumers, what is kept ---

const titled = (name, ...content) => element('div', {}, element('h2', { textContent: name }), ...content);
const shownAs = (value) => (typeof value === 'string' ? value : count(value));

function table(columns, rows) {
	const numeric = columns.map((_, i) => rows.some((row) => typeof row[i] === 'number'));
	const line = (kind, cells) => element('tr', {}, ...cells.map((cell, i) => element(kind, { className: numeric[i] ? 'number' : '' }, shownAs(cell))));
	const head = element('thead', {}, line('th', columns));
	return element('div', { className: 'scroll' }, element('table', {}, head, element('tbody', {}, ...rows.map((row) => line('td', row)))));
}

function facts(found) {
	const list = element('dl', { className: 'facts' });
	pairs(list, found.map(([fact, value]) => [fact, shownAs(value)]));
	return list;
}

const height = (tip) => tip?.block?.height ?? null;

const passed = (ms) => (ms == null ? 'never' : ago(ms + Date.now() - statusAt));

function pipeline({ proven, committed, lag, lag_ms: age, pending, running, waiting, poisoned, per_minute: rate, stalled, cause }) {
	return facts([
		['proven', `${count(proven.height)} of ${count(committed.height)}`],
		['behind', `${plural(lag, 'block')}, ${span(age)}`],
		['to be proven', pending],
		['being proven', running],
		['proofs that wait', waiting],
		['poisoned', poisoned],
		['in the last minute', rate],
		...(stalled ? [['stalled', cause ?? 'the lowest waits for too long']] : []),
	]);
}

function parts() {
	const { source, source_tips: theirs, tips: ours, upstreams, proving, consumers, retention, streams } = status;
	if (!source) return;
	const known = TIERS.toReversed().filter((tier) => theirs[tier] || ours[tier]);
	const seen = known.map((tier) => [tier, height(theirs[tier]), height(ours[tier])]);
	const asked = upstreams.map((of) => [of.name, passed(of.answered_ms), of.took_ms, of.answers, of.failures, of.failed ? `${words(of.failed)}, ${passed(of.failed_ms)}` : '–']);
	const read = consumers.map((of) => [of.name, of.behind_events, span(of.behind_ms), height(of), height(of.finalized)]);
	const pins = retention.pins.map((pin) => `${pin.name}, from ${count(height(pin))} on`).join('; ');
	const upstream = facts([['source', source.name], ['times read', source.snapshots], ['faults', source.faults]]);
	const kept = facts([
		['events', retention.next_event - retention.oldest_event],
		['blocks from', retention.oldest_block],
		...Object.entries(retention.oldest_proofs).map(([tier, from]) => [`proofs of ${tier} from`, from]),
		...(pins ? [['held back by', pins]] : []),
		['streams now', streams],
	]);
	$('parts').replaceChildren(
		titled('Upstream', upstream, table(['tier', 'it says', 'taken in'], seen)),
		...(asked.length ? [titled('Endpoints', table(['name', 'answered', 'ms', 'answers', 'failures', 'last failure'], asked))] : []),
		titled('Consumers', read.length ? table(['name', 'events behind', 'for', 'block', 'finalized'], read) : 'None has a position here.'),
		...(proving ? [titled('Proving', pipeline(proving))] : []),
		...(counts.length ? [titled('Faults', table(['kind', 'of', 'count'], counts.map((of) => [words(of.kind), of.source, of.count])))] : []),
		titled('Kept', kept),
	);
}

// --- playback ---

const playback = new Playback({
	show(model) {
		shown = model ?? live;
		$('playback').hidden = !model;
		document.body.classList.toggle('replaying', Boolean(model));
		dirty = true;
	},
	tell: (said) => text($('played'), said),
	changed: () => (dirty = true),
});
const startPlayback = (cursor) => playback.start(cursor.trim());
$('play').addEventListener('submit', (event) => {
	event.preventDefault();
	startPlayback($('from').value);
});
$('pause').addEventListener('click', () => text($('pause'), playback.pause() ? 'Go on' : 'Pause'));
$('live').addEventListener('click', () => {
	playback.stop();
	text($('pause'), 'Pause');
});

// --- controls ---

function choices(id, options, chosen, choose) {
	for (const [label, chosenValue] of options) {
		const button = element('button', { type: 'button', textContent: label });
		button.setAttribute('aria-pressed', chosen(chosenValue));
		button.addEventListener('click', () => {
			choose(chosenValue);
			[...$(id).children].forEach((other, i) => other.setAttribute('aria-pressed', chosen(options[i][1])));
			dirty = true;
		});
		$(id).append(button);
	}
}
choices('by', [['Behind the tip', 'depth'], ['Height', 'height']], (by) => view.by === by, (by) => (view.by = by));
choices('window', [['1 min', 60_000], ['5 min', 300_000], ['30 min', 1_800_000]], (w) => view.window === w, (w) => (view.window = w));
choices('speed', [['4/s', 4], ['40/s', 40], ['400/s', 400]], (speed) => playback.speed === speed, (speed) => (playback.speed = speed));
const refilter = () => ((logged = 0), ($('log').model = null), (dirty = true));
choices('kinds', KINDS.map((kind) => [kind, kind]), (kind) => !view.off.has(kind), (kind) => {
	if (!view.off.delete(kind)) view.off.add(kind);
	refilter();
});
$('filter').addEventListener('input', (event) => {
	view.filter = event.target.value.trim().toLowerCase();
	refilter();
});
$('legend').append(
	...TIERS.toReversed().map((tier) => element('li', { className: tier }, icon(tier), tier)),
	element('li', {}, svg('svg', { viewBox: '0 0 14 14', 'aria-hidden': true }, svg('rect', { x: 1, y: 1, width: 12, height: 12, rx: 2, class: 'block lost' })), 'undone'),
);

// --- drawing: when something came, and a few times a second for what ages ---

const calm = matchMedia('(prefers-reduced-motion: reduce)');
let drawnAt = 0;
function frame() {
	requestAnimationFrame(frame);
	const now = Date.now();
	if (!dirty && now - drawnAt < (calm.matches ? 1_000 : 250)) return;
	if (now - drawnAt < 60) return;
	dirty = false;
	drawnAt = now;
	headline(now);
	tiers(now);
	charts(now);
	log();
	if (parts.drawn !== status) parts((parts.drawn = status));
}

ask();
setInterval(() => document.hidden || feed.state !== 'open' || ask(), STATUS_EVERY_MS);
addEventListener('resize', () => (dirty = true));
feed.start();
frame();
