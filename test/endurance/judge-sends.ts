import { claimOf, type ConnectionEvidence } from './evidence.ts';
import type { SendEntry } from './witness-journal.ts';

/** Sends with an ambiguous end that the policy of one refresh token allows after the first. */
const replaysMax = 3;

/**
 * Sends of a token that had been exchanged before. `allowed`: the authorization server took it again.
 * `prescribed`: it refused, and the class has the token sent again after a lost answer, to learn what
 * became of it. `forbidden`: every other.
 */
export type ReplayVerdict = 'allowed' | 'prescribed' | 'forbidden';

export interface Replay {
  connectionId: string;
  send: SendEntry;
  verdict: ReplayVerdict;
  /** For people, of a forbidden one. */
  why: string;
}

export function judgeSends(sorted: Map<string, ConnectionEvidence>): Replay[] {
  return [...sorted.values()].flatMap((of) =>
    of.sends
      .filter(({ wasSpent, status }) => wasSpent && status !== null)
      .map((send) => judgeReplay(of, send)),
  );
}

function judgeReplay(of: ConnectionEvidence, send: SendEntry): Replay {
  const { app, id: connectionId } = of.connection;
  const judged = (verdict: ReplayVerdict, why = ''): Replay => ({
    connectionId,
    send,
    verdict,
    why,
  });
  if (send.status === 200) return judged('allowed');
  if (app.class !== 'X' && app.class !== 'F' && app.class !== 'T') {
    return judged('forbidden', 'the class forgives every replay that it allows');
  }
  const claim = claimOf(of, send);
  if (claim === undefined) return judged('forbidden', 'no claim precedes it');
  if (claim.replays === 0) return judged('forbidden', 'its claim is that of a first send');
  if (claim.replays > replaysMax) return judged('forbidden', `replay ${claim.replays}`);
  const earlier = of.claims.filter(
    ({ generation, attempt }) => generation === claim.generation && attempt < claim.attempt,
  );
  if (earlier.length === 0) {
    return judged('forbidden', 'no attempt of its generation was ambiguous before');
  }
  // An attempt whose process died is over at answer_by, one that ended without an answer by its claim.
  const isOver = earlier.every(({ answerByMs }) => answerByMs <= claim.sentAtMs);
  const over = earlier.at(-1);
  if (!isOver && over !== undefined && over.answerByMs > claim.sentAtMs) {
    return judged('forbidden', 'an attempt of its generation may still have been answered');
  }
  if (app.introspection) {
    const probe = of.probes.findLast(
      ({ refreshToken, atMs }) => refreshToken === send.refreshToken && atMs <= send.arrivedAtMs,
    );
    if (probe?.isActive !== true) {
      return judged('forbidden', 'introspection had not called the token active');
    }
  }
  return judged('prescribed');
}
