import { whyLost, type ConnectionEvidence, type Evidence } from './evidence.ts';

/** A grant that ended, and whether that had to be. */
export interface Loss {
  connectionId: string;
  class: string;
  atMs: number;
  reason: string;
  /** What became of the answer that held its tokens; null: nothing excuses the loss. */
  excuse: string | null;
}

/** Classes whose grants a lost answer can end: single use, and a grace that has passed. */
const losable: ReadonlySet<string> = new Set(['X', 'F', 'T']);

export function judgeLosses(evidence: Evidence, sorted: Map<string, ConnectionEvidence>): Loss[] {
  return [...sorted.values()].flatMap((of) => {
    const verdict = of.states.find((state) => state.verdict !== null);
    if (verdict?.verdict == null) return [];
    const { connection } = of;
    return [
      {
        connectionId: connection.id,
        class: connection.app.class,
        atMs: verdict.atMs,
        reason: verdict.verdict,
        excuse: losable.has(connection.app.class) ? excuseOf(evidence, of, verdict.atMs) : null,
      },
    ];
  });
}

/** The exchange of the token that was stored last, whose answer never was. */
function excuseOf(evidence: Evidence, of: ConnectionEvidence, lostAtMs: number): string | null {
  const last = of.sends.findLast(
    ({ issued, arrivedAtMs }) => issued !== null && arrivedAtMs <= lostAtMs,
  );
  if (last === undefined) return null;
  // Of a token that was sent again within a grace, the answer to every send must have been lost.
  const sends = of.sends.filter(
    ({ refreshToken, issued }) => issued !== null && refreshToken === last.refreshToken,
  );
  const reasons = sends.map((send) => whyLost(evidence, of, send));
  return reasons.includes(null) ? null : reasons.join('; ');
}
