import { randomUUID } from 'node:crypto';
import type { PoolClient } from 'pg';
import { createExchangeStore, type ExchangeStore } from '../../connections/exchange-store.ts';
import type { Claim, Verdict } from '../../connections/exchange.ts';
import { resumeConnection } from '../../connections/pause-connection.ts';
import type { Sealer } from '../../connections/token-vault.ts';
import { Secret } from '../../platform/secret.ts';
import type { TestStack } from '../support/test-stack.ts';

/** Some transactions commit late, when others that began after them have. */
const lateEvery = 7;
const lateSeconds = 0.02;
const answerWithinMs = 60_000;

/**
 * Ends a connection by its provider's verdict, or lets a probe recover it, in turn: by the statements of the
 * exchange itself, each of them twice, as a process does that never saw the answer to the first.
 */
export class ChangingConnection {
  readonly id: string;
  readonly #stack: TestStack;
  #generation = 1;
  #changes = 0;

  constructor(stack: TestStack, id: string) {
    this.#stack = stack;
    this.id = id;
  }

  async change(): Promise<void> {
    const { pool } = this.#stack.database;
    const client = await pool.connect();
    try {
      await client.query('begin');
      if (this.#changes % 2 === 0) await this.#end(client);
      else await this.#recover(client);
      this.#changes += 1;
      if (this.#changes % lateEvery === 0) {
        await client.query('select pg_sleep($1)', [lateSeconds]);
      }
      await client.query('commit');
    } finally {
      client.release();
    }
  }

  async #end(client: PoolClient): Promise<void> {
    const store = createExchangeStore(client);
    const claimId = randomUUID();
    await this.#claim(store, claimId);
    const verdict: Verdict = {
      connectionId: this.id,
      generation: this.#generation,
      claimId,
      class: 'permanent',
      code: 'invalid_grant',
      reason: 'revoked',
      record: { trigger: 'sweep', runId: 'run', durationMs: 1 },
    };
    const settled = [await store.settle(verdict), await store.settle(verdict)];
    if (settled.join() !== 'true,false') throw new Error(`settled: ${settled.join()}`);
  }

  async #recover(client: PoolClient): Promise<void> {
    await resumeConnection(client, this.id, null);
    const store = createExchangeStore(client);
    const claim = await this.#claim(store, randomUUID());
    const sealer = await this.#stack.allInOne.services.vault.sealer();
    const tokens = this.#tokens(sealer);
    const sealedResult = (): never => {
      throw new Error('No later attempt is open.');
    };
    const ends = [
      await store.commit(claim, tokens, null, sealedResult),
      await store.commit(claim, tokens, null, sealedResult),
    ];
    if (ends.join() !== 'stored,superseded') throw new Error(`committed: ${ends.join()}`);
    this.#generation += 1;
  }

  async #claim(store: ExchangeStore, claimId: string): Promise<Claim> {
    const claim = await store.claim({
      claimId,
      connectionId: this.id,
      generation: this.#generation,
      replayOf: null,
      replayWithinMs: null,
      fingerprint: null,
      workflowRunId: 'run',
      answerWithinMs,
      rotationClass: 'F',
      tokenHost: null,
      sendsKept: 0,
      isForced: false,
    });
    if (claim === undefined) throw new Error('The claim was not granted.');
    return claim;
  }

  #tokens(sealer: Sealer) {
    const owner = { tenantId: 'tenant', id: this.id, generation: this.#generation + 1 };
    const refreshToken = new Secret(randomUUID());
    return {
      accessToken: sealer.seal('access-token', owner, new Secret(randomUUID())),
      refreshToken: sealer.seal('refresh-token', owner, refreshToken),
      refreshFingerprint: sealer.fingerprint(refreshToken),
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
  }
}
