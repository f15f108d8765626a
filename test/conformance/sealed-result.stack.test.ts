import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { refreshWorkflowId } from '../../client/contract.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';

let cluster: ServiceCluster;
let endpoint: ScriptedTokenEndpoint;
let gateway: ServiceProcess;
let connection: Connection;

beforeAll(async () => {
  [cluster, endpoint, connection] = await Promise.all([
    createServiceCluster(),
    startScriptedTokenEndpoint(),
    Connection.connect({ address: inject('temporalAddress') }),
  ]);
  gateway = await cluster.startReady('gateway');
}, 60_000);
afterAll(async () => {
  await cluster.close();
  await endpoint.close();
  await connection.close();
});

it('sealed tokens of a run and a worker that are gone are recovered from the history, not sent for again', async () => {
  const call: ReturnType<typeof callerOf>['call'] = (...request) =>
    callerOf(gateway).call(...request);
  const { pool } = cluster.database;
  const client = new Client({ connection, namespace: inject('temporalNamespace') });
  const granted = endpoint.grant();
  const id = `sealed-${granted.refreshToken}`;
  await call('PUT', '/v1/apps/app', {
    provider: 'generic',
    client_id: 'client',
    client_secrets: ['secret'],
    overrides: { token_url: endpoint.url },
  });
  await call('PUT', `/v1/connections/${id}`, {
    tenant_id: 'tenant',
    app_id: 'app',
    access_token: granted.accessToken,
    refresh_token: granted.refreshToken,
    expires_in: 0,
  });
  const worker = await cluster.startReady('worker');

  // PostgreSQL takes the claim, and refuses to store what comes back.
  await pool.query(
    `create function refuse_tokens() returns trigger language plpgsql as
       $$ begin raise exception 'tokens are refused'; end $$;
     create trigger refuse_tokens before update on connections for each row
       when (new.generation > old.generation) execute function refuse_tokens()`,
  );
  const caller = call('GET', `/v1/connections/${id}/token?wait_seconds=30`);
  const handle = client.workflow.getHandle(refreshWorkflowId(id));
  await expect
    .poll(
      async () => {
        const events = (await handle.fetchHistory()).events ?? [];
        return events.some((event) => event.activityTaskCompletedEventAttributes);
      },
      { timeout: 20_000 },
    )
    .toBe(true);
  // The success is told to the app's gate beside that; a lease that is left would hold up the refresh at the end.
  await expect
    .poll(async () => (await pool.query(`select 1 from app_gates where leases <> '{}'`)).rowCount)
    .toBe(0);
  const { runId: madeBy } = await handle.describe();
  worker.kill('SIGKILL');
  await worker.exited;
  await handle.terminate('test');
  await pool.query('drop trigger refuse_tokens on connections');
  // The intent would stand until the provider's deadline; let that time have passed.
  await pool.query(`update refresh_intents set answer_by = now() - interval '1 second'`);
  await cluster.startReady('worker');
  await caller;

  const served = await call('GET', `/v1/connections/${id}/token?wait_seconds=30`);
  expect(served.body).toMatchObject({ token_version: 2, connection_status: 'active' });
  expect(endpoint.sendsOf(granted.refreshToken)).toBe(1);
  // The log names the run that made the attempt, whoever found that it had no end, or stored its tokens.
  const { body: log } = await call('GET', `/v1/connections/${id}/attempts`);
  expect(log['items']).toMatchObject([
    { outcome: 'refreshed', class: null, trigger: 'read', run_id: madeBy },
    { outcome: 'uncertain', class: 'ambiguous', code: 'end_unknown', run_id: madeBy },
  ]);
  // What was recovered is the live pair.
  const next = await call('POST', `/v1/connections/${id}/token/refresh`, { force: true });
  expect(next.body).toMatchObject({ token_version: 3 });
  expect(endpoint.truth()).toMatchObject({ reuse: 0, familyRevocations: 0 });
}, 120_000);
