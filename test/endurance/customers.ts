import { setTimeout as sleep } from 'node:timers/promises';
import { callerOf } from '../support/service-cluster.ts';
import type { EnduranceConnection } from './connection-mix.ts';
import type { EnduranceStack } from './endurance-stack.ts';

const everyMs = 2_000;
const customerTakesSeconds = 5;

export interface Customers {
  /** How often one came. */
  count(): number;
  /** Resolves when the last is done. */
  stop(): Promise<void>;
}

/**
 * Customers who authorise again, some seconds after a connection needs them: so that the load stays and
 * a connection can be lost more than once. What fails, because something is broken, is tried again.
 */
export function startCustomers(options: {
  stack: EnduranceStack;
  connections: readonly EnduranceConnection[];
}): Customers {
  const { stack, connections } = options;
  const byId = new Map(connections.map((connection) => [connection.id, connection]));
  let stopped = false;
  let count = 0;

  async function reauthorise({ id, app, lifetimeSeconds }: EnduranceConnection): Promise<void> {
    // An instant, for the PUT may have to wait for a gateway or for PostgreSQL.
    const grantedAtMs = Date.now();
    const { access_token, refresh_token } = await stack.provider.grant(
      id,
      app.clientId,
      lifetimeSeconds,
    );
    const expires_at = new Date(grantedAtMs + 1_000 * lifetimeSeconds).toISOString();
    for (const gateway of stack.gateways) {
      const answer = await callerOf(gateway)
        .call('PUT', `/v1/connections/${id}`, {
          tenant_id: 'endurance',
          app_id: app.id,
          access_token,
          refresh_token,
          expires_at,
        })
        .catch(() => undefined);
      if (answer?.status !== 200) continue;
      count += 1;
      return;
    }
  }

  async function round(): Promise<void> {
    const { rows } = await stack.pool.query<{ id: string }>(
      `select id from connections
       where verdict is not null and verdict_at < now() - make_interval(secs => $1)`,
      [customerTakesSeconds],
    );
    for (const { id } of rows) {
      const connection = byId.get(id);
      if (connection !== undefined && !stopped) await reauthorise(connection);
    }
  }

  async function run(): Promise<void> {
    while (!stopped) {
      // PostgreSQL may be away, or a gateway stopped.
      await round().catch(() => undefined);
      await sleep(everyMs);
    }
  }

  const running = run();
  return {
    count: () => count,
    async stop() {
      stopped = true;
      await running;
    },
  };
}
