// Follows a Tidewatch server's events, in Node.js 20 and in browsers, without dependencies.

import type { Block, Control, Hello, Reset, State, TideEvent, Tier } from './events.js'

export type * from './events.js'

/** The server refuses for good: match on `code`. */
export class Refused extends Error {
  constructor(readonly status: number, readonly code: string, detail: string) { super(`${code}: ${detail}`) }
}
/** No event leads on from the cursor, and there is no `reset` callback that would take it. */
export class Unresumable extends Error {
  constructor(readonly reset: Reset) { super(`${reset.code}: ${reset.detail}`) }
}
/** Events do not lead where the server says that they do. */
export class LawBroken extends Error {}
/** A connection ended, or nothing came for too long. Only `lost` sees it. */
export class Lost extends Error {
  constructor(message: string, readonly retryMs = 0) { super(message) }
}

type Maybe<T> = T | Promise<T>
export interface Options {
  /** Handles an event; what it leads to is `state`. The next one waits for it, and what it throws ends `follow`. */
  event(event: TideEvent, state: State): Maybe<void>
  /** The cursor to go on from: what `save` was given last. Without one it begins with `from`. */
  load?(): Maybe<string | null | undefined>
  /** Called after an event was handled, and when a position moved without one. */
  save?(cursor: string): Maybe<void>
  /** What was known before counts no more: go on from `reset.tips` and `reset.block`. */
  reset?(reset: Reset): Maybe<void>
  /** Whatever the server says of the stream. */
  control?(control: Control): void
  /** A connection ended; the next one is tried after `waitMs`. */
  lost?(error: Error, waitMs: number): void
  from?: 'tip' | 'earliest'
  mode?: 'every' | 'latest'
  tiers?: Tier[]
  kinds?: TideEvent['event'][]
  token?: string
  /** Silence after which a connection counts as lost: 45 s. */
  silentMs?: number
  signal?: AbortSignal
}

const TIERS: Tier[] = ['proposed', 'checkpointed', 'proven', 'finalized']
const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 30_000
const LONGEST = 1 << 20

/** Follows the server at `url` until `signal` ends it; goes on over restarts of either side. */
export async function follow(url: string, options: Options): Promise<void> {
  const { signal, silentMs = 45_000 } = options
  let cursor = (await options.load?.()) ?? null
  const fold = new Fold(!options.tiers && !options.kinds)
  const moved = async (to: string) => {
    if (to !== cursor) await options.save?.((cursor = to))
  }
  let failed = 0
  while (!signal?.aborted) {
    try {
      for await (const event of connected(url, options, cursor, silentMs)) {
        failed = 0
        switch (event.event) {
          case 'hello':
            fold.begin(event)
            if (cursor === null) await moved(event.cursor)
            break
          case 'reset':
            if (!options.reset) throw new Unresumable(event)
            fold.state = { block: event.block, tips: { ...event.tips } }
            await options.reset(event)
            await moved(event.cursor)
            break
          case 'bookmark': await moved(event.cursor)
            break
          case 'goodbye':
            options.control?.(event)
            throw new Lost(`the server ends the stream: ${event.reason}`, event.reason === 'reset' ? 0 : event.retry_ms)
          case 'lagged': fold.bridged = true
            break
          case 'blocks': case 'advanced': case 'regressed': case 'pruned':
            fold.apply(event)
            await options.event(event, fold.state)
            await moved(event.cursor)
            continue
        }
        options.control?.(event)
      }
      throw new Lost('the connection ended')
    } catch (error) {
      if (signal?.aborted) return
      if (!(error instanceof Lost)) throw error
      const half = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failed++) / 2
      const wait = Math.max(error.retryMs, half) + Math.random() * half
      options.lost?.(error, wait)
      await new Promise<void>((done) => {
        const timer = setTimeout(done, wait)
        signal?.addEventListener('abort', () => (clearTimeout(timer), done()), { once: true })
      })
    }
  }
}

/** The events of one connection. */
async function* connected(url: string, options: Options, cursor: string | null, silentMs: number): AsyncGenerator<TideEvent | Control> {
  const query = new URLSearchParams(cursor === null ? { from: options.from ?? 'tip' } : { cursor })
  for (const key of ['mode', 'tiers', 'kinds'] as const) if (options[key]) query.set(key, String(options[key]))
  const token = options.token && { authorization: `Bearer ${options.token}` }
  const headers = { accept: 'text/event-stream', ...(token || {}) }
  const ended = new AbortController()
  const stop = () => ended.abort()
  options.signal?.addEventListener('abort', stop)
  let timer: ReturnType<typeof setTimeout> | undefined
  let silent = false
  const watch = <T>(work: Promise<T>): Promise<T> => {
    timer = setTimeout(() => ((silent = true), stop()), silentMs)
    const failed = (error: Error) => { throw new Lost(silent ? `nothing came for ${silentMs} ms` : error.message) }
    return work.catch(failed).finally(() => clearTimeout(timer))
  }
  try {
    const answer = await watch(fetch(`${url.replace(/\/$/, '')}/v1/events?${query}`, { headers, signal: ended.signal }))
    if (!answer.ok || !answer.body) throw await refusal(answer)
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    for (;;) {
      const { done, value } = await watch(reader.read())
      if (done) return
      const frames = (rest + value).split('\n\n')
      rest = frames.pop() as string
      if (rest.length > LONGEST) throw new Lost('an event has no end')
      for (const frame of frames) {
        const data = frame.split('\n').find((line) => line.startsWith('data: '))
        if (data) yield JSON.parse(data.slice(6))
      }
    }
  } finally {
    options.signal?.removeEventListener('abort', stop)
    stop()
  }
}

async function refusal(answer: Response): Promise<Error> {
  const problem = await answer.json().catch(() => ({}))
  const error = new Refused(answer.status, problem.code ?? 'unknown', problem.detail ?? answer.statusText)
  if (answer.status !== 429 && answer.status < 500) return error
  return new Lost(error.message, Number(answer.headers.get('retry-after') ?? 1) * 1000)
}

/** The replay law: the fold of all events is the state that a server says. With a filter, only some come. */
class Fold {
  state: State = { block: null, tips: { proposed: null, checkpointed: null, proven: null, finalized: null } }
  private known = false
  /** The next blocks may begin where the log of another history does. */
  bridged = false
  constructor(private readonly whole: boolean) {}

  begin({ block, tips, resume }: Hello) {
    if (this.known && this.whole && resume !== 'reset') {
      check(same(this.state.block, block), 'the block at the cursor is not the one that was delivered')
      for (const tier of TIERS) check(same(this.state.tips[tier]?.block, tips[tier]?.block), `${tier} at the cursor is another one`)
    }
    this.state = { block, tips: { ...tips } }
    this.known = true
    this.bridged = resume === 'forked' || resume === 'ahead'
  }

  apply(event: TideEvent) {
    const { block, tips } = this.state
    if (event.event === 'blocks') {
      const { from, to, count } = event
      check(count === to.height - from.height + 1, `${count} blocks from ${from.height} to ${to.height}`)
      const next = block ? block.height + 1 : from.height
      check(!this.whole || from.height === next || (this.bridged && from.height > next), `block ${from.height} comes where ${next} has to`)
      this.bridged = false
      this.state.block = to
    } else if (event.event === 'pruned') {
      const gone = block ? block.height - event.to.height : event.depth
      check(!this.whole || event.depth === gone || (this.bridged && event.depth < gone), `${event.depth} blocks are pruned, and not ${gone}`)
      check(!tips.finalized || same(tips.finalized.block, event.tips.finalized?.block), 'a prune moves what is final')
      for (const tier of TIERS) check((event.tips[tier]?.block.height ?? 0) <= event.to.height, `${tier} stands above the prune`)
      this.state = { block: block && event.to, tips: { ...event.tips } }
    } else {
      const [was, is] = [tips[event.tier]?.block.height ?? -1, event.block.height]
      check(event.event === 'advanced' ? is >= was : is <= was && event.tier !== 'finalized', `${event.tier} ${event.event} from ${was} to ${is}`)
      check(!this.whole || !block || is <= block.height, `${event.tier} is above what was delivered`)
      tips[event.tier] = { block: event.block, checkpoint: event.checkpoint }
    }
  }
}

const same = (a?: Block | null, b?: Block | null) => a?.height === b?.height && a?.digest === b?.digest
function check(holds: boolean, broken: string) {
  if (!holds) throw new LawBroken(broken)
}
