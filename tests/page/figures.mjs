// From a block at the node to an event in the browser, and to the number on the page: `scripts/page figures`. Both
// ends read the clock of this machine. The node tells of new heads over a WebSocket.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Anvil, Tidewatch, freePort, until } from './world.mjs'

const [, , modules, binary, chromium] = process.argv
const BLOCKS = 200
const { chromium: browsers } = createRequire(join(modules, 'x.js'))('playwright-core')
const browser = await browsers.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] })
const anvil = await Anvil.start(modules, 8)
const server = new Tidewatch(binary, `eth+${anvil.url.replace('http', 'ws')}`, await freePort())
await anvil.mine(5)
await server.start()
await server.at(5)
const page = await browser.newPage()
await page.goto(server.url)
await page.evaluate(() => {
  globalThis.heard = {}
  globalThis.drawn = {}
  const source = new EventSource('v1/events?tiers=proposed')
  source.addEventListener('advanced', (event) => (heard[JSON.parse(event.data).block.height] = Date.now()))
  const shown = document.querySelector('#tier-proposed .height')
  new MutationObserver(() => (drawn[shown.textContent.replaceAll(',', '')] ??= Date.now())).observe(shown, { childList: true, characterData: true, subtree: true })
})
await until('the page is at 5', async () => (await page.locator('#tier-proposed .height').textContent()) === '5')

const asked = {}
for (let height = 6; height < 6 + BLOCKS; height++) {
  await anvil.another()
  asked[height] = Date.now()
  await anvil.call('anvil_mine', '0x1')
  await until(`${height} is drawn`, () => page.evaluate((height) => drawn[height], height))
}
for (const [what, when] of Object.entries(await page.evaluate(() => ({ 'to the event': heard, 'to the page': drawn })))) {
  const took = Object.keys(asked).map((height) => when[height] - asked[height]).sort((a, b) => a - b)
  const at = (share) => took[Math.floor(took.length * share)]
  console.log(`from a block that is asked for at the node ${what}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, of ${took.length}`)
}
await browser.close()
await server.end()
await anvil.process.kill()
