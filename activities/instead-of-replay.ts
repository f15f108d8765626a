import type { AttemptRecord, ExchangeSubject, RefreshIntent } from '../connections/exchange.ts';
import type { ExchangeDependencies } from './exchange-dependencies.ts';
import type { PreparedExchange } from './exchange-preflight.ts';
import type { RefreshStep, RefreshTokenInput } from './refresh-step.ts';
import { dueAfterMs, offeredProbe, resolveAmbiguity } from './resolve-ambiguity.ts';
import { afterFailure, resultOf, waitStep } from './step-results.ts';

interface Replay {
  input: RefreshTokenInput;
  subject: ExchangeSubject;
  intent: RefreshIntent;
  prepared: PreparedExchange;
  record: AttemptRecord;
}

/**
 * What is done in place of a replay that its class does not allow now: the authorization server is asked
 * first, the grant is given up, or the access token is served for as long as it lives. Null: send.
 */
export async function insteadOfReplay(
  { tokenEndpoint, store, log, deadlinesMs }: ExchangeDependencies,
  { input, subject, intent, prepared, record }: Replay,
): Promise<RefreshStep | null> {
  const { connection } = subject;
  const { definition, refreshToken } = prepared;
  const now = connection.readAt;
  const ambiguous = { subject, intent, definition, deadlinesMs, input, now };
  let decision = resolveAmbiguity(ambiguous, offeredProbe(definition));
  if (decision.kind === 'probe' && refreshToken !== null) {
    const answer = await tokenEndpoint.introspect(prepared.request, refreshToken);
    log.info({ answer }, 'asked whether the refresh token lives');
    decision = resolveAmbiguity(ambiguous, answer);
  }
  switch (decision.kind) {
    case 'replay':
      return null;
    case 'lost': {
      const lost = 'lost_rotation';
      const verdict = {
        connectionId: connection.id,
        generation: connection.generation,
        claimId: intent.claimId,
        class: 'permanent',
        code: lost,
        reason: lost,
        record,
      } as const;
      // False: tokens or another attempt have come between.
      return (await store.settle(verdict)) ? afterFailure(subject, verdict) : waitStep(subject, 0);
    }
    case 'wait':
    case 'probe': {
      const { generation, attempt } = intent;
      const fence = { connectionId: connection.id, generation, attempt };
      await store.deferResolution(fence, dueAfterMs(decision));
      return { next: 'end', result: resultOf(connection, 'uncertain') };
    }
  }
}
