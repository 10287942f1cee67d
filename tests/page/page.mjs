// The live page in a real browser, over a real server: `scripts/page`.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Anvil, Tidewatch, check, freePort, test, until } from './world.mjs'

const [, , modules, binary, chromium, shots] = process.argv
const { chromium: browsers } = createRequire(join(modules, 'x.js'))('playwright-core')
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const browser = await browsers.launch({ executablePath: chromium, args: flags })

/** A page that remembers what it complained of, and what it was asked to connect to. */
async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1150 }, ...options })
  const page = await context.newPage()
  page.complaints = []
  page.streams = []
  page.on('console', (message) => {
    // That a server is gone or wants a token, the browser says by itself.
    const network = /net::ERR_|status of 401/.test(message.text())
    if (['error', 'warning'].includes(message.type()) && !network) page.complaints.push(message.text())
  })
  page.on('pageerror', (error) => page.complaints.push(error.stack))
  page.on('request', (request) => request.resourceType() === 'eventsource' && page.streams.push(request))
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`))
  })
  await page.goto(url)
  return page
}

const text = (page, selector) => page.locator(selector).first().textContent()
const height = async (page, tier) => Number((await text(page, `#tier-${tier} .height`)).replaceAll(',', ''))
const state = (page) => text(page, '#state span')
const shows = (page, tier, wanted) => until(`${tier} is ${wanted} on the page`, async () => (await height(page, tier)) === wanted)
const says = (page, words) => until(`the page says: ${words}`, async () => (await page.locator('#log').textContent()).includes(words))
const shot = (page, name) => shots && page.screenshot({ path: join(shots, `${name}.png`), fullPage: true })

const anvil = await Anvil.start(modules, 8)
const server = new Tidewatch(binary, `eth+${anvil.url}`, await freePort())
const devnet = new Tidewatch(binary, 'devnet:', await freePort(), 'a-token-of-the-test')
const processes = () => [anvil, server, devnet]
await anvil.mine(40)
await server.start()
let page

await test('the page is small, and nothing on it is from elsewhere', async () => {
  const answer = await fetch(server.url)
  const policy = answer.headers.get('content-security-policy')
  check(policy?.includes("default-src 'none'") && !policy.includes('unsafe'), `the policy is ${policy}`)
  const html = await answer.text()
  const files = [...html.matchAll(/(?:src|href)="(assets\/[^"]+)"/g)].map((match) => match[1])
  check(files.length >= 3, `there are ${files} only`)
  const script = readFileSync(new URL('../../crates/serve/assets/page.js', import.meta.url), 'utf8')
  const modules = [...script.matchAll(/from '\.\/([^']+)'/g)].map((match) => `assets/${match[1]}`)
  let bytes = html.length
  for (const file of new Set([...files, ...modules])) {
    const part = await fetch(`${server.url}/${file}`)
    check(part.ok, `${file}: ${part.status}`)
    bytes += (await part.arrayBuffer()).byteLength
  }
  check(bytes < 60_000, `the page has ${bytes} bytes`)
}, processes)

await test('it shows the tiers as the server has them', async () => {
  page = await open(server.url)
  const tips = await server.at(40)
  for (const tier of ['proposed', 'checkpointed', 'finalized']) await shows(page, tier, tips[tier].block.height)
  await anvil.mine(3)
  await shows(page, 'proposed', 43)
  await shows(page, 'finalized', 43 - 16)
  await shot(page, 'live')
}, processes)

await test('a reorg is a notch in the tide, a branch beside the strip and a line in the log', async () => {
  await anvil.reorg(3)
  await says(page, '3 blocks undone')
  await shows(page, 'proposed', 43)
  await until('there is a notch', () => page.locator('#tide .notch').count())
  await until('there is a branch', () => page.locator('#strip .fork').count())
  await shot(page, 'reorg')
}, processes)

await test('it survives the end of the server, and goes on from its last id', async () => {
  const opened = page.streams.length
  await server.kill()
  await until('the page says it', async () => (await state(page)) === 'server gone')
  await shot(page, 'gone')
  await anvil.mine(5)
  await server.start()
  await shows(page, 'proposed', 48)
  await until('the page is live again', async () => (await page.locator('#feed.open').count()) === 1)
  const again = page.streams.slice(opened)
  check(again.length, 'no stream was opened again')
  const cursor = async (request) => (await request.allHeaders())['last-event-id'] ?? new URL(request.url()).searchParams.get('cursor')
  for (const request of again) check(await cursor(request), `it does not go on from its last id: ${request.url()}`)
  await page.locator('#kinds button', { hasText: 'stream' }).click()
  await says(page, 'nothing was missed')
}, processes)

await test('the past is played back from a cursor', async () => {
  await page.locator('#play button').click()
  await until('something was played', async () => /[1-9]\d* events/.test(await text(page, '#played')))
  await until('it ends', async () => (await text(page, '#played')).includes('the end'))
  check((await height(page, 'proposed')) === 48, 'it does not end where the server stands')
  await shot(page, 'playback')
  await page.locator('#live').click()
}, processes)

await test('it can be used by keyboard, and says why a tier is where it is', async () => {
  await page.locator('#tier-finalized').focus()
  await page.keyboard.press('Enter')
  await until('the reason is shown', () => page.locator('dialog[open] dd').count())
  await shot(page, 'proof')
  await page.keyboard.press('Escape')
  check((await page.locator('dialog[open]').count()) === 0, 'it cannot be closed')
}, processes)

await test('a conflict is what is seen first', async () => {
  await anvil.reorg(30)
  await until('the page says it', async () => (await state(page)) === 'conflicted')
  await shot(page, 'conflicted')
}, processes)

await test('a certified chain is shown, to who has the token, on a phone and in the dark', async () => {
  await devnet.start()
  const phone = await open(devnet.url, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: 'dark' })
  await until('it asks for the token', () => phone.locator('#token[open]').count())
  for (const token of ['another-token-of-it', devnet.token]) {
    await phone.locator('#shown').fill(token)
    await phone.locator('#show button').tap()
    await until('it says so', async () => token === devnet.token || (await text(phone, '#wrong')) === 'That is not it.')
  }
  await until('finality moves', async () => (await height(phone, 'finalized')) > 3)
  await until('it is live', async () => (await state(phone)) === 'live')
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth)
  check(wide <= 390, `the page is ${wide} pixels wide`)
  await phone.locator('#tier-finalized').tap()
  await until('the reason is shown', () => phone.locator('dialog[open] dd').count())
  await shot(phone, 'phone')
  check(!phone.complaints.length, phone.complaints.join('\n'))
}, processes)

await test('the browser had nothing to complain of', async () => {
  check(!page.complaints.length, page.complaints.join('\n'))
}, processes)

await browser.close()
for (const part of [server, devnet]) await part.end()
await anvil.process.kill()
