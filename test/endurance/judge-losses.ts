import { whyLost, type ConnectionEvidence, type Evidence, type Excuse } from './evidence.ts';

/** A grant that ended, and whether that had to be. */
export interface Loss {
  connectionId: string;
  class: string;
  atMs: number;
  reason: string;
  /** What became of the answer that held its tokens; null: nothing excuses the loss. */
  because: string | null;
  details: string[];
}

/** Classes whose grants a lost answer can end: single use, and a grace that has passed. */
const losable: ReadonlySet<string> = new Set(['X', 'F', 'T']);

export function judgeLosses(evidence: Evidence, sorted: Map<string, ConnectionEvidence>): Loss[] {
  return [...sorted.values()].flatMap((of) => {
    const { id, app } = of.connection;
    const verdicts = of.states.filter(
      ({ verdict }, index) => verdict !== null && of.states[index - 1]?.verdict == null,
    );
    return verdicts.map(({ atMs, verdict }) => {
      const excuses = losable.has(app.class) ? excusesOf(evidence, of, atMs) : [];
      return {
        connectionId: id,
        class: app.class,
        atMs,
        reason: verdict ?? '',
        because: excuses[0]?.because ?? null,
        details: excuses.map(({ detail }) => detail),
      };
    });
  });
}

/**
 * Of the token that was exchanged last, what became of the answer to each send: within a grace there may
 * be several, and all must have been lost. Empty: nothing excuses the loss.
 */
function excusesOf(evidence: Evidence, of: ConnectionEvidence, lostAtMs: number): Excuse[] {
  const exchanges = of.sends.filter(
    ({ issued, arrivedAtMs }) => issued !== null && arrivedAtMs <= lostAtMs,
  );
  const token = exchanges.at(-1)?.refreshToken;
  const excuses = exchanges
    .filter(({ refreshToken }) => refreshToken === token)
    .map((send) => whyLost(evidence, of, send));
  return excuses.includes(null) ? [] : excuses.filter((excuse) => excuse !== null);
}
