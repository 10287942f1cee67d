// What the tests of the page and of the clients have around them: an Ethereum node that reorgs on demand, and
// `tidewatch` that follows and serves it, each of which can be killed and started again.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const DEADLINE_MS = 60_000
const PLATFORM = { 'linux-x64': 'linux-amd64', 'linux-arm64': 'linux-arm64', 'darwin-x64': 'darwin-amd64', 'darwin-arm64': 'darwin-arm64' }

/** Waits until `condition` returns something, and returns it. */
export async function until(what, condition) {
  const end = Date.now() + DEADLINE_MS
  let last
  for (;;) {
    try {
      const found = await condition()
      if (found) return found
    } catch (error) {
      last = error
    }
    if (Date.now() > end) throw new Error(`not within ${DEADLINE_MS / 1000} s: ${what}`, { cause: last })
    await new Promise((done) => setTimeout(done, 50))
  }
}

export function check(holds, broken) {
  if (!holds) throw new Error(broken)
}

export async function freePort() {
  const server = createServer()
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address()
  await new Promise((closed) => server.close(closed))
  return port
}

const running = new Set()
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/** A process of which the last lines are kept for when something fails. */
export class Process {
  constructor(command, args) {
    this.lines = []
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    running.add(this.child)
    this.ended = new Promise((ended) => this.child.on('exit', ended))
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.lines.push(...text.split('\n').filter(Boolean))
        this.lines.splice(0, this.lines.length - 40)
      })
    }
  }

  async kill(signal = 'SIGKILL') {
    this.child.kill(signal)
    await this.ended
    running.delete(this.child)
  }
}

/** An Ethereum node: `safe` is `epoch` blocks below the tip, and `finalized` as far below that. */
export class Anvil {
  static async start(modules, epoch) {
    const anvil = new Anvil()
    const port = await freePort()
    anvil.url = `http://127.0.0.1:${port}`
    const executable = join(modules, '@foundry-rs', `anvil-${PLATFORM[`${process.platform}-${process.arch}`]}`, 'bin/anvil')
    const options = ['--no-mining', '--slots-in-an-epoch', epoch, '--timestamp', 1_700_000_000]
    anvil.process = new Process(executable, ['--port', port, ...options].map(String))
    anvil.made = 0
    await until('anvil answers', () => anvil.call('eth_chainId'))
    return anvil
  }

  async call(method, ...params) {
    // A connection for each call: one that is kept may be closed by the node while the next call is written.
    const headers = { 'content-type': 'application/json' }
    const text = await new Promise((done, failed) => {
      const asked = request(this.url, { method: 'POST', headers, agent: false }, async (answer) => {
        done((await answer.setEncoding('utf8').toArray()).join(''))
      })
      asked.on('error', failed).end(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))
    })
    const { result, error } = JSON.parse(text)
    if (error) throw new Error(`${method}: ${error.message}`)
    return result
  }

  /** Another beneficiary each time: two blocks on one parent would be one and the same otherwise. */
  async another() {
    await this.call('anvil_setCoinbase', `0x${(++this.made).toString(16).padStart(40, '0')}`)
  }

  async mine(blocks) {
    await this.another()
    await this.call('anvil_mine', `0x${blocks.toString(16)}`)
  }

  async reorg(depth) {
    await this.another()
    await this.call('anvil_reorg', depth, [])
  }

  async height() {
    return Number(await this.call('eth_blockNumber'))
  }
}

/** `tidewatch follow` with a server; one data directory and one port for all its runs. */
export class Tidewatch {
  constructor(binary, source, port, token) {
    this.url = `http://127.0.0.1:${port}`
    this.token = token
    this.directory = mkdtempSync(join(tmpdir(), 'tidewatch-page-'))
    const args = ['follow', '--source', source, '--serve', `127.0.0.1:${port}`, '--data-dir', join(this.directory, 'data'), '--format', 'json']
    if (token) {
      const file = join(this.directory, 'token')
      writeFileSync(file, token)
      args.push('--serve-token-file', file)
    }
    this.command = [binary, args]
  }

  async start() {
    this.process = new Process(...this.command)
    await until('tidewatch answers', () => this.json('/v1/tips'))
  }

  async json(path) {
    const answer = await fetch(this.url + path, { headers: { accept: 'application/json', ...(this.token && { authorization: `Bearer ${this.token}` }) } })
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`)
    return answer.json()
  }

  async kill(signal) {
    await this.process.kill(signal)
  }

  /** Waits until the tip is at `height`. */
  async at(height) {
    return until(`the tip is at ${height}`, async () => {
      const { tips } = await this.json('/v1/tips')
      return tips.proposed?.block.height === height && tips
    })
  }

  async end() {
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** Runs a test, and shows what its processes said last if it fails. */
export async function test(name, body, processes) {
  const began = Date.now()
  try {
    await body()
    console.log(`ok   ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`)
  } catch (error) {
    console.error(`FAIL ${name}\n`, error)
    for (const { process: ended } of processes()) console.error(ended?.lines.join('\n') ?? '')
    process.exit(1)
  }
}
