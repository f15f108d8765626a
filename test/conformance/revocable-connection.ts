import { setTimeout as sleep } from 'node:timers/promises';
import type { Fault } from '../support/fault-proxy.ts';
import type { RotationTruth } from '../support/rotation-families.ts';
import type { RotationServer } from '../support/rotation-server.ts';
import type { Answer, TestStack } from '../support/test-stack.ts';

const hourSeconds = 3_600;
const pollMs = 100;
/** Settling after a lost answer, the rounds around it, and a machine that has other work to do. */
const disconnectWithinMs = 60_000;
const notYet = {
  kind: 'answer',
  when: 'before',
  status: 503,
  headers: { 'retry-after': '1' },
} satisfies Fault;

export interface RevocableConnection {
  id: string;
  appId: string;
  /** The first one. */
  refreshToken: string;
  remove(): Promise<Answer>;
  /** How often the first refresh token was sent to the token endpoint. */
  sends(): number;
  /** What befalls the next exchange of the first refresh token. */
  inject(fault: Fault): void;
  /** How often the first refresh token was to be revoked. */
  revocations(): number;
  refuseRevocation(times: number | 'always'): void;
  /** Refresh tokens of the grant that the provider would exchange now. */
  live(): number | undefined;
  truth(): RotationTruth | undefined;
  /** Repeats the DELETE until nothing is left to be done; no token is readable meanwhile. */
  untilDone(): Promise<void>;
  row(): Promise<Record<string, unknown> | undefined>;
  /** Types, in their order. */
  events(): Promise<string[]>;
}

/** A connection of the class's client at a server that revokes; its access token has expired unless told. */
export async function connectRevocable(
  { stack, server }: { stack: TestStack; server: RotationServer },
  clientId: string,
  options: { expiresIn?: number; revokes?: boolean } = {},
): Promise<RevocableConnection> {
  const { expiresIn = 0, revokes = true } = options;
  const client = server.clients.find(({ id }) => id === clientId);
  if (client === undefined) throw new Error(`There is no client ${clientId}.`);
  const { rule } = client;
  const appId = await stack.addApp(
    server.tokenUrl,
    {
      rotation: {
        class: rule.class,
        ...(rule.class === 'T' ? { grace_seconds: rule.graceSeconds } : {}),
      },
      ...(revokes ? { revoke_url: server.revokeUrl } : {}),
      limits: { min_interval_seconds: 0 },
    },
    client,
  );
  const grantee = `at-${appId}`;
  const granted = await server.createGrant(grantee, clientId, hourSeconds);
  const id = await stack.addConnection(
    appId,
    { accessToken: granted.access_token, refreshToken: granted.refresh_token },
    { expires_in: expiresIn },
  );
  const { pool } = stack.database;
  const inExchange = `refresh_token=${granted.refresh_token}`;
  const inRevocation = `token=${granted.refresh_token}`;
  const remove = (): Promise<Answer> => stack.call('DELETE', `/v1/connections/${id}`);
  return {
    id,
    appId,
    refreshToken: granted.refresh_token,
    remove,
    sends: () => server.proxy.requestsHolding(inExchange),
    inject: (fault) => server.proxy.inject(fault, { holding: inExchange }),
    revocations: () =>
      server.proxy.requestsHolding(inRevocation) - server.proxy.requestsHolding(inExchange),
    refuseRevocation: (times) =>
      server.proxy.inject(notYet, { holding: inRevocation, path: '/token/revocation', times }),
    live: () => server.ledger().connections[grantee]?.live_refresh_tokens,
    truth: () => server.ledger().connections[grantee],
    async untilDone() {
      for (let ms = 0; ms < disconnectWithinMs; ms += pollMs) {
        const { status } = await remove();
        if (status === 204) return;
        const { status: ofRead } = await stack.getToken(id);
        const isAsItShould = (status === 202 || status === 503) && ofRead !== 200;
        if (!isAsItShould) throw new Error(`DELETE says ${status}, a read ${ofRead}`);
        await sleep(pollMs);
      }
      throw new Error('the disconnect does not end');
    },
    async row() {
      const { rows } = await pool.query<Record<string, unknown>>(
        'select * from connections where id = $1',
        [id],
      );
      return rows[0];
    },
    async events() {
      const { rows } = await pool.query<{ type: string }>(
        'select type from events where connection_id = $1 order by id',
        [id],
      );
      return rows.map(({ type }) => type);
    },
  };
}
