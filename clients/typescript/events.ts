// What a Tidewatch server sends.

export type Tier = 'proposed' | 'checkpointed' | 'proven' | 'finalized'
export interface Block { height: number; digest: string }
export interface Checkpoint { number: number; digest: string }
export interface Tip { block: Block; checkpoint: Checkpoint | null }
export type Tips = Record<Tier, Tip | null>
/** Where the events led: the highest delivered block, and the tiers. */
export interface State { block: Block | null; tips: Tips }

export interface Blocks { event: 'blocks'; from: Block; to: Block; count: number; cursor: string }
export interface Moved extends Tip { event: 'advanced' | 'regressed'; tier: Tier; cursor: string }
export interface Pruned { event: 'pruned'; to: Block; depth: number; tips: Tips; cursor: string }
/** What happened on the chain. */
export type TideEvent = Blocks | Moved | Pruned

export interface Hello extends State {
  event: 'hello'; protocol: number; chain: string; genesis: Block; ladder: Tier[]; version: string
  heartbeat_ms: number; head: Block | null; resume: 'start' | 'exact' | 'forked' | 'ahead' | 'reset'
  ancestor?: Block; depth?: number; cursor: string
}
export interface Bookmark {
  event: 'bookmark'; state: string; lag: number; source_height: number | null; tip_age_ms: number | null; cause?: string; cursor: string
}
export type Skipped = { blocks: number; advanced: number; regressed: number } | null
export interface Lagged { event: 'lagged'; from: number; to: number; skipped: Skipped; cursor: string }
export interface Reset extends State { event: 'reset'; code: string; detail: string; cursor: string }
export interface Goodbye { event: 'goodbye'; reason: string; retry_ms: number; cursor: string }
/** What a server says of the stream itself. */
export type Control = Hello | Bookmark | Lagged | Reset | Goodbye
