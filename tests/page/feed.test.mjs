// What the page decides without a browser: how its feed goes on, and what its model makes of events.
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { plot } from '../../crates/serve/assets/chart.js'
import { Feed } from '../../crates/serve/assets/feed.js'
import { Model, ago, distance, sentence, span } from '../../crates/serve/assets/model.js'

/** A stream that does what a test says. */
class Source extends EventTarget {
  static opened = []
  readyState = 0
  constructor(url) {
    super()
    this.url = new URL(url, 'http://host/')
    Source.opened.push(this)
  }
  close() {
    this.readyState = 2
  }
  says(type, event, lastEventId = event.cursor ?? '') {
    this.dispatchEvent(Object.assign(new Event(type), { data: JSON.stringify({ event: type, ...event }), lastEventId }))
  }
  fails(readyState) {
    this.readyState = readyState
    this.dispatchEvent(new Event('error'))
  }
}

/** Runs `body` with a feed whose time stands still but for `pass`. */
function following(body) {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] })
  Source.opened = []
  const seen = { events: [], states: [] }
  const on = { event: (event) => seen.events.push(event), feed: (state) => seen.states.push(state) }
  const feed = new Feed(on, { open: (url) => new Source(url), now: Date.now })
  feed.start()
  try {
    body({ feed, seen, source: () => Source.opened.at(-1), pass: (ms) => mock.timers.tick(ms) })
  } finally {
    clearInterval(feed.watchdog)
    mock.timers.reset()
  }
}

test('the first stream begins at the tip, and one after an answer that was no stream where the last one ended', () => {
  following(({ feed, seen, source, pass }) => {
    assert.equal(source().url.searchParams.get('from'), 'tip')
    source().says('hello', { cursor: 'a' })
    source().says('blocks', { cursor: 'b' })
    source().says('bookmark', {}, 'c')
    for (let times = 1; times < 8; times++) {
      const opened = Source.opened.length
      source().fails(2)
      assert.equal(feed.state, 'gone')
      pass(15_000)
      assert.equal(Source.opened.length, opened + 1, `try ${times}`)
      assert.equal(source().url.searchParams.get('cursor'), 'c')
    }
    source().says('hello', { cursor: 'c' })
    assert.equal(feed.state, 'open')
    assert.deepEqual(seen.events.map((event) => event.event), ['hello', 'blocks', 'bookmark', 'hello'])
  })
})

test('a cut connection is left to the browser, and silence is not', () => {
  following(({ feed, source, pass }) => {
    source().says('hello', { cursor: 'a' })
    source().fails(0)
    assert.equal(feed.state, 'gone')
    pass(20_000)
    assert.equal(Source.opened.length, 1)
    source().says('hello', { cursor: 'a' })
    assert.equal(feed.state, 'open')
    pass(45_000)
    assert.equal(Source.opened.length, 1)
    const silent = source()
    pass(2_000)
    assert.equal(Source.opened.length, 2)
    assert.equal(silent.readyState, 2)
    assert.equal(source().url.searchParams.get('cursor'), 'a')
    assert.equal(feed.state, 'gone')
    source().says('bookmark', {}, 'b')
    assert.equal(feed.state, 'open')
    // Nor is a browser that tries and never says how it went.
    source().fails(0)
    pass(47_000)
    assert.equal(Source.opened.length, 3)
  })
})

test('after a reset the feed goes on from where the server says', () => {
  following(({ source, pass }) => {
    source().says('hello', { cursor: 'old' })
    source().says('reset', { cursor: 'new' })
    source().says('goodbye', { cursor: 'new' })
    source().fails(2)
    pass(15_000)
    assert.equal(source().url.searchParams.get('cursor'), 'new')
  })
})

const block = (height) => ({ height, digest: String(height).padStart(64, '0') })
const tips = (proposed, finalized) => ({ proposed: { block: block(proposed), checkpoint: null }, checkpointed: null, proven: null, finalized: { block: block(finalized), checkpoint: null } })

test('the model stands where the events lead', () => {
  const model = new Model()
  model.apply({ event: 'hello', resume: 'start', block: block(10), tips: tips(10, 6) }, 0, 0)
  model.apply({ event: 'blocks', from: block(11), to: block(14), count: 4 }, 1, 1)
  model.apply({ event: 'advanced', tier: 'proposed', block: block(14), checkpoint: null }, 1, 1)
  model.apply({ event: 'pruned', to: block(11), depth: 3, tips: tips(11, 6) }, 2, 2)
  assert.equal(model.head.height, 11)
  assert.equal(distance(model.tips, 'finalized'), 5)
  assert.deepEqual([model.tierAt(6), model.tierAt(7), model.tierAt(12)], ['finalized', 'proposed', null])
  assert.deepEqual(model.forks.map(({ from, to, depth }) => [from, to, depth]), [[12, 14, 3]])
  // Three below the top after the prune, and finality eight below it.
  const { lines, low } = plot(model, 0, 3, 'depth')
  assert.deepEqual(lines[0].map((point) => point.y), [0, -3])
  assert.equal(low, -8)
  model.apply({ event: 'reset', block: block(3), tips: tips(3, 1) }, 3, 3)
  assert.deepEqual([model.head.height, model.forks.length, model.log.length], [3, 0, 5])
})

test('events and times are said in words', () => {
  assert.equal(sentence({ event: 'pruned', to: block(1_000), depth: 1 }), '1 block undone, down to 1,000 000000…1000')
  assert.equal(sentence({ event: 'hello', resume: 'exact' }), 'the server says hello, nothing was missed')
  assert.equal(sentence({ event: 'weather_report' }), 'weather report')
  assert.deepEqual([span(900), span(61_000), span(7_200_000), ago(100), ago(3_000)], ['0.9 s', '61 s', '2 h', 'just now', '3.0 s ago'])
})
