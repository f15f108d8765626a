import { randomUUID } from 'node:crypto';
import { createExchangeStore } from '../../connections/exchange-store.ts';
import type { CommitOutcome } from '../../connections/exchange.ts';
import { Secret } from '../../platform/secret.ts';
import type { RotationServer } from '../support/rotation-server.ts';
import type { TestStack } from '../support/test-stack.ts';
import type { RevocableConnection } from './revocable-connection.ts';

/** Until others may take the claim over; short, for the process that made it does nothing any more. */
const answerWithinMs = 1_500;

/**
 * An exchange of a process that has the answer and then stands still: the claim is stored, the provider has
 * exchanged the token, and nobody else knows the new ones. `commit` is what it does when it goes on.
 */
export async function heldExchange(
  { stack, server }: { stack: TestStack; server: RotationServer },
  { id, refreshToken }: RevocableConnection,
): Promise<{ commit(): Promise<CommitOutcome> }> {
  const store = createExchangeStore(stack.database.pool);
  const subject = await store.load(id);
  if (subject === undefined) throw new Error('There is no such connection.');
  const { connection, app } = subject;
  const sealer = await stack.allInOne.services.vault.sealer();
  const claim = await store.claim({
    claimId: randomUUID(),
    connectionId: id,
    generation: connection.generation,
    replayOf: null,
    replayWithinMs: null,
    fingerprint: sealer.fingerprint(new Secret(refreshToken)),
    workflowRunId: randomUUID(),
    answerWithinMs,
    rotationClass: connection.rotationClass,
    tokenHost: null,
    sendsKept: 0,
    isForced: false,
  });
  if (claim === undefined) throw new Error('The claim was not granted.');
  const client = server.clients.find((other) => other.id === app.clientId);
  const response = await fetch(server.tokenUrl, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'refresh_token',
      refresh_token: refreshToken,
      client_id: app.clientId,
      client_secret: client?.secret ?? '',
    }),
  });
  const answer = (await response.json()) as { access_token: string; refresh_token: string };
  return {
    commit() {
      const { tenantId } = connection;
      const owner = { tenantId, id, generation: connection.generation + 1 };
      const [access, refresh] = [answer.access_token, answer.refresh_token].map(
        (token) => new Secret(token),
      ) as [Secret, Secret];
      const tokens = {
        accessToken: sealer.seal('access-token', owner, access),
        refreshToken: sealer.seal('refresh-token', owner, refresh),
        refreshFingerprint: sealer.fingerprint(refresh),
        isNewAccessToken: true,
        tokenType: 'Bearer',
        scope: null,
        expiresAt: null,
        lifetimeSeconds: null,
        expiryAssumed: false,
        refreshTokenExpiresAt: null,
        refreshDueAt: null,
        metadata: {},
        failure: null,
      };
      return store.commit(claim, tokens, null, () => {
        throw new Error('No later attempt is open.');
      });
    },
  };
}
