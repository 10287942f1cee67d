#!/usr/bin/env node
// Two real execution clients: A has a chain made by a real consensus client, B is driven by Tidewatch alone, which
// follows A. Forward, over reorgs of what is not final, and through kill -9 of A, B and Tidewatch; at the end both
// answer the same for latest, safe and finalized, block by block.
//
//   scripts/execution-clients [ROUNDS] [BINARY]
//
// ROUNDS is how often each of the three is killed (3). BINARY is a `tidewatch`, built in release mode if it is not
// given. Requires Node.js 20 with npm. The first run installs both clients, which tests/consensus pins, below the target
// directory. Takes about four minutes then, most of which is finality: two epochs of eight slots of two seconds.
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, createWriteStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const root = resolve(import.meta.dirname, '..')
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? 'target')
const rounds = Number(process.argv[2] ?? 3)
const installed = join(target, 'tmp')
const work = mkdtempSync(join(tmpdir(), 'execution-clients-'))
const began = Date.now()
const say = (line) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}`)
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

// --- installing ---

function install(name, pinned, peers) {
  const directory = join(installed, `${name}-client`)
  const complete = join(directory, 'installed')
  const from = join(root, 'tests/consensus', pinned)
  const wanted = readFileSync(join(from, 'package-lock.json'), 'utf8')
  if (existsSync(complete) && readFileSync(complete, 'utf8') === wanted) return directory
  say(`installing ${name} client`)
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(from, file), join(directory, file))
  const flags = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', ...peers]
  execFileSync('npm', flags, { cwd: directory, stdio: 'pipe' })
  writeFileSync(complete, wanted)
  return directory
}

let binary = process.argv[3]
if (!binary) {
  execFileSync('cargo', ['build', '--quiet', '--release', '--locked', '-p', 'tidewatch', '--bin', 'tidewatch'], { cwd: root, stdio: 'inherit' })
  binary = join(target, 'release/tidewatch')
}
const execution = install('execution', 'execution', [])
const consensus = install('consensus', 'beacon', ['--legacy-peer-deps'])

// --- processes ---

const running = new Map()
let over = false

function start(name, command, args, options = {}) {
  const log = createWriteStream(join(work, `${name}.log`), { flags: 'a' })
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.pipe(log, { end: false })
  child.stderr.pipe(log, { end: false })
  child.on('exit', (code, signal) => {
    const expected = over || running.get(name) !== child
    if (!expected) fail(`${name} ended by itself (${code ?? signal})`)
  })
  running.set(name, child)
  return child
}

async function kill(name, signal = 'SIGKILL') {
  const child = running.get(name)
  running.delete(name)
  const ended = new Promise((done) => child.on('exit', done))
  child.kill(signal)
  await ended
}

function end() {
  over = true
  for (const child of running.values()) child.kill('SIGKILL')
}

function fail(why) {
  console.error(`FAILED: ${why}; logs in ${work}`)
  end()
  process.exit(1)
}
process.on('SIGINT', () => fail('interrupted'))
process.on('unhandledRejection', (error) => fail(error.stack ?? error))

const port = () => new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => done(port))
  })
})

// --- JSON-RPC ---

async function call(url, method, params) {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(10_000) })
  const answer = await response.json()
  if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`)
  return answer.result
}

const block = (client, at, full = false) => call(client.rpc, 'eth_getBlockByNumber', [at, full])
const tips = (client) => Promise.all(['latest', 'safe', 'finalized'].map((tag) => block(client, tag)))
const hashes = async (client) => (await tips(client)).map((tip) => tip.hash).join(' ')
const shown = async (client) => (await tips(client)).map((tip) => `${Number(tip.number)}:${tip.hash.slice(2, 10)}`).join(' ')

async function until(what, is, seconds = 60) {
  const limit = Date.now() + seconds * 1000
  for (;;) {
    try {
      if (await is()) return
    } catch {
      // It is not there yet.
    }
    if (Date.now() > limit) fail(`never: ${what}`)
    await sleep(100)
  }
}

// --- the three ---

// A key that everybody knows, with all of the money.
const require = createRequire(join(execution, 'package.json'))
const load = (name) => import(pathToFileURL(require.resolve(name)))
const { createLegacyTx } = await load('@ethereumjs/tx')
const { Common, Mainnet, Hardfork, createCustomCommon } = await load('@ethereumjs/common')
const { createAddressFromPrivateKey, bytesToHex } = await load('@ethereumjs/util')
const key = new Uint8Array(32).fill(1)
const chainId = 1337803
const forks = ['homestead', 'eip150', 'eip155', 'eip158', 'byzantium', 'constantinople', 'petersburg', 'istanbul', 'berlin', 'london', 'mergeFork']
const zero = '0x' + '00'.repeat(32)
const genesis = {
  config: {
    chainId,
    ...Object.fromEntries(forks.map((fork) => [`${fork}Block`, 0])),
    terminalTotalDifficulty: 0,
    terminalTotalDifficultyPassed: true,
  },
  nonce: '0x42', timestamp: '0x0', extraData: '0x', gasLimit: '0x1c9c380', difficulty: '0x0', mixHash: zero,
  coinbase: '0x' + '00'.repeat(20), number: '0x0', gasUsed: '0x0', parentHash: zero, baseFeePerGas: '0x7',
  alloc: { [createAddressFromPrivateKey(key).toString()]: { balance: '0x6d6172697573766477000000' } },
}
writeFileSync(join(work, 'genesis.json'), JSON.stringify(genesis))
writeFileSync(join(work, 'jwt.hex'), '0b'.repeat(32))

async function client(name) {
  const [rpc, engine, p2p] = [await port(), await port(), await port()]
  return { name, rpc: `http://127.0.0.1:${rpc}`, engine: `http://127.0.0.1:${engine}`, ports: { rpc, engine, p2p } }
}

async function startClient({ name, rpc, ports }) {
  // The consensus client and this script talk to A, Tidewatch to B: with a secret.
  const auth = name === 'A' ? ['--rpcEngineAuth=false'] : ['--jwtSecret', join(work, 'jwt.hex')]
  const args = ['node_modules/.bin/ethereumjs', '--gethGenesis', join(work, 'genesis.json'), '--dataDir', join(work, name),
    '--rpc', '--rpcAddr', '127.0.0.1', '--rpcPort', ports.rpc, '--rpcEngine', '--rpcEngineAddr', '127.0.0.1',
    '--rpcEnginePort', ports.engine, '--isSingleNode', '--discV4=false', '--discDns=false', '--extIP', '127.0.0.1',
    '--port', ports.p2p, '--maxPeers', 0, '--logLevel', 'info', ...auth]
  start(name, process.execPath, args.map(String), { cwd: execution })
  await until(`${name} answers`, () => block({ rpc }, 'latest'))
}

const A = await client('A')
const B = await client('B')
const rest = await port()
const cl2p = await port()

async function startConsensus() {
  const origin = (await block(A, '0x0')).hash
  const args = ['node_modules/.bin/lodestar', 'dev', '--dataDir', join(work, 'consensus'), '--genesisValidators', 8,
    '--startValidators', '0..7', '--reset', '--genesisEth1Hash', origin, '--terminal-total-difficulty-override', 0,
    '--params.SECONDS_PER_SLOT', 2, '--params.SECONDS_PER_ETH1_BLOCK', 2, '--params.ETH1_FOLLOW_DISTANCE', 1,
    '--params.ALTAIR_FORK_EPOCH', 0, '--params.BELLATRIX_FORK_EPOCH', 0, '--eth1', true, '--eth1.providerUrls', A.rpc,
    '--execution.urls', A.engine, '--rest.address', '127.0.0.1', '--rest.port', rest, '--listenAddress', '127.0.0.1',
    '--port', cl2p, '--discv5', false, '--enr.ip', '127.0.0.1', '--server', `http://127.0.0.1:${rest}`, '--logLevel', 'info']
  const polyfill = join(root, 'tests/consensus/beacon/with-resolvers.cjs')
  const env = { ...process.env, LODESTAR_PRESET: 'minimal', NODE_BACKEND: 'js', NODE_OPTIONS: `--require ${polyfill}` }
  start('consensus', process.execPath, args.map(String), { cwd: consensus, env })
}

function startTidewatch() {
  start('tidewatch', binary, ['follow', '--source', `eth+${A.rpc}`, '--execution', B.engine, '--jwt-secret', join(work, 'jwt.hex'),
    '--data-dir', join(work, 'tidewatch-data'), '--format', 'json'])
}

// --- what happens ---

let nonce = 0
async function pay(transactions) {
  const common = createCustomCommon({ chainId }, Mainnet, { hardfork: Hardfork.London })
  for (let at = 0; at < transactions; at++) {
    const to = '0x' + '35'.repeat(20)
    const data = { nonce: nonce++, gasPrice: 2_000_000_000n, gasLimit: 21_000n, to, value: 1n }
    const signed = createLegacyTx(data, { common }).sign(key)
    await call(A.rpc, 'eth_sendRawTransaction', [bytesToHex(signed.serialize())])
  }
}

const same = (what, seconds = 60) => until(`A and B are the same ${what}`, async () => (await hashes(A)) === (await hashes(B)), seconds)
const height = async (client) => Number((await block(client, 'latest')).number)
const grows = async (client, blocks) => {
  const from = await height(client)
  await until(`${client.name} grows`, async () => (await height(client)) >= from + blocks)
}

// Replaces the newest blocks of A by others that A itself builds, as a consensus client would ask for them; the real
// one is stopped meanwhile, and brings A back to its own chain when it goes on.
async function reorg(depth, blocks) {
  running.get('consensus').kill('SIGSTOP')
  await sleep(500)
  const [latest, safe, finalized] = await tips(A)
  const state = (head) => ({ headBlockHash: head, safeBlockHash: safe.hash, finalizedBlockHash: finalized.hash })
  const keep = Number(latest.number) - depth
  if (keep < Number(finalized.number)) fail(`${depth} blocks below ${Number(latest.number)} is final`)
  let parent = await block(A, `0x${keep.toString(16)}`)
  // Safe blocks are not under the other fork where that begins below them.
  const safeHash = Number(safe.number) <= keep ? safe.hash : finalized.hash
  const forkState = (head) => ({ ...state(head), safeBlockHash: safeHash })
  for (let at = 0; at < blocks; at++) {
    const attributes = {
      timestamp: `0x${(Number(parent.timestamp) + 1).toString(16)}`,
      prevRandao: '0x' + '77'.repeat(32),
      suggestedFeeRecipient: '0x' + '99'.repeat(20),
    }
    const { payloadId } = await call(A.engine, 'engine_forkchoiceUpdatedV1', [forkState(parent.hash), attributes])
    const payload = await call(A.engine, 'engine_getPayloadV1', [payloadId])
    const { status } = await call(A.engine, 'engine_newPayloadV1', [payload])
    if (status !== 'VALID') fail(`A says ${status} of its own block`)
    parent = { hash: payload.blockHash, timestamp: payload.timestamp }
    await call(A.engine, 'engine_forkchoiceUpdatedV1', [forkState(parent.hash), null])
  }
  await until('A stands on the other fork', async () => (await block(A, 'latest')).hash === parent.hash)
  return { left: latest.hash, to: parent.hash }
}

await startClient(A)
await startClient(B)
await startConsensus()
await until('A has blocks', async () => (await height(A)) >= 3)
startTidewatch()
say('A makes a chain, Tidewatch drives B')
await pay(5)
await grows(A, 3)
await same('from genesis on')
say(`forward: ${await shown(B)}`)

await until('A has finality', async () => Number((await block(A, 'finalized')).number) > 0, 300)
await same('with finality')
say(`finality: ${await shown(B)}`)

for (let round = 1; round <= rounds; round++) {
  // Other depths each time; Tidewatch does not follow a source that goes to and fro more often than that.
  const [depth, blocks] = [[1, 1], [2, 3], [4, 2]][(round - 1) % 3]
  const { left, to } = await reorg(depth, blocks)
  await until('B stands on the other fork', async () => (await block(B, 'latest')).hash === to)
  say(`round ${round}, reorg: ${depth} blocks for ${blocks} others, from ${left.slice(2, 10)} to ${to.slice(2, 10)}; B is there`)
  running.get('consensus').kill('SIGCONT')
  await until('A is back on its own chain', async () => {
    const now = await block(A, 'latest')
    return now.hash !== to && now.parentHash !== to
  })
  await same('after a reorg')
  say(`round ${round}, and back: ${await shown(B)}`)

  await pay(2)
  await kill('tidewatch')
  await grows(A, 2)
  startTidewatch()
  await same('after kill -9 of Tidewatch')
  say(`round ${round}, kill -9 of Tidewatch: ${await shown(B)}`)

  await kill('B')
  await grows(A, 2)
  await startClient(B)
  say(`B came back with ${await shown(B)}`)
  await same('after kill -9 of B', 90)
  say(`round ${round}, kill -9 of B: ${await shown(B)}`)

  await kill('A')
  await sleep(1_000)
  await startClient(A)
  say(`A came back with ${await shown(A)}`)
  await grows(A, 2)
  await same('after kill -9 of A', 90)
  say(`round ${round}, kill -9 of A: ${await shown(B)}`)
}

// The consensus client rests, so that both stand still.
running.get('consensus').kill('SIGSTOP')
await sleep(1_000)
await same('at the end')
const [ours, theirs] = [await tips(A), await tips(B)]
const top = Number(ours[0].number)
let transactions = 0
for (let at = 0; at <= top; at++) {
  const [a, b] = await Promise.all([A, B].map((client) => block(client, `0x${at.toString(16)}`, true)))
  if (a.hash !== b.hash || a.stateRoot !== b.stateRoot) fail(`block ${at} is ${a.hash} on A and ${b.hash} on B`)
  transactions += b.transactions.length
}
for (const [at, tag] of ['latest', 'safe', 'finalized'].entries()) {
  say(`${tag.padEnd(9)}  A ${Number(ours[at].number)} ${ours[at].hash}  B ${Number(theirs[at].number)} ${theirs[at].hash}`)
}
say(`the same: ${top + 1} blocks with ${transactions} transactions, on A and on B`)
end()
rmSync(work, { recursive: true, force: true })
process.exit(0)
