import { randomUUID } from 'node:crypto';
import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { isNotFound } from '../../platform/temporal-connections.ts';
import { createSealedResults } from '../../worker/sealed-results.ts';

let connection: NativeConnection;

beforeAll(async () => {
  connection = await NativeConnection.connect({ address: inject('temporalAddress') });
});
afterAll(() => connection.close());

describe('the sealed tokens of a run', () => {
  it('are none where its history is gone', async () => {
    const client = new Client({ connection, namespace: inject('temporalNamespace') });
    const sealedResults = createSealedResults({ client: () => client, isNotFound });
    // Never there, as those are whose retention is over: what waits for them must not wait for ever.
    expect(await sealedResults(`c-${randomUUID()}`, randomUUID())).toEqual([]);
  });

  it('are not known while there is no Temporal to ask', async () => {
    const sealedResults = createSealedResults({ client: () => undefined, isNotFound });
    await expect(sealedResults('c', randomUUID())).rejects.toThrow('no connection to Temporal');
  });
});
