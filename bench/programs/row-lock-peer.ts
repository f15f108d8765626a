import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import pg from 'pg';
import { programArgument, serveCalls } from '../child-calls.ts';

/*
 * The service that an engineer writes in a day: a table of sealed tokens, and SELECT … FOR UPDATE around
 * the refresh. Nobody has to be known to read. It is fast because it is simple, and loses tokens because it
 * is: a process that dies between the provider's answer and its commit has spent the refresh token and
 * kept nothing; a provider that answers slowly keeps a database connection for each caller who waits, of
 * other connections too; after a lost answer it sends the spent token again, and the grant is gone.
 */

export interface RowLockOptions {
  port: number;
  url: string;
  tokenUrl: string;
  count: number;
}

interface Row {
  access: Buffer;
  refresh: Buffer;
  expires_at: Date;
}

const connectionsMax = 20;
const nonceBytes = 12;
const tagBytes = 16;
const tokenBytes = 48;
const lifetimeMs = 3_600_000;

const { port, url, tokenUrl, count } = programArgument() as RowLockOptions;
const pool = new pg.Pool({ connectionString: url, max: connectionsMax });
const key = randomBytes(32);

function seal(text: string): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  const sealed = Buffer.concat([cipher.update(text), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
}

function open(sealed: Buffer): string {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceBytes));
  decipher.setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes));
  const text = decipher.update(sealed.subarray(nonceBytes + tagBytes));
  return Buffer.concat([text, decipher.final()]).toString();
}

function answerOf({ access, expires_at }: Pick<Row, 'access' | 'expires_at'>) {
  const expiresIn = Math.floor((expires_at.getTime() - Date.now()) / 1_000);
  return { access_token: open(access), expires_at, expires_in: expiresIn };
}

async function refresh(id: string): Promise<Pick<Row, 'access' | 'expires_at'>> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    const { rows } = await client.query<Row>({
      name: 'lock',
      text: 'select access, refresh, expires_at from row_lock_tokens where id = $1 for update',
      values: [id],
    });
    const [row] = rows;
    if (row === undefined) throw new Error('there is no such connection');
    let kept: Pick<Row, 'access' | 'expires_at'> = row;
    if (row.expires_at.getTime() <= Date.now()) {
      const response = await fetch(tokenUrl, {
        method: 'POST',
        body: new URLSearchParams({
          grant_type: 'refresh_token',
          refresh_token: open(row.refresh),
        }),
      });
      const tokens = (await response.json()) as Record<string, string>;
      kept = {
        access: seal(tokens['access_token'] ?? ''),
        expires_at: new Date(Date.now() + 1_000 * Number(tokens['expires_in'])),
      };
      await client.query({
        name: 'store',
        text: 'update row_lock_tokens set access = $2, refresh = $3, expires_at = $4 where id = $1',
        values: [id, kept.access, seal(tokens['refresh_token'] ?? ''), kept.expires_at],
      });
    }
    await client.query('commit');
    return kept;
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

const app = new Hono();
app.get('/v1/connections/:id/token', async (c) => {
  const id = c.req.param('id');
  const { rows } = await pool.query<Row>({
    name: 'read',
    text: 'select access, refresh, expires_at from row_lock_tokens where id = $1',
    values: [id],
  });
  const [row] = rows;
  if (row === undefined) return c.notFound();
  const isFresh = row.expires_at.getTime() > Date.now();
  return c.json(answerOf(isFresh ? row : await refresh(id)));
});
app.get('/ping', (c) => c.text('pong'));

await pool.query(
  'create table row_lock_tokens (id text primary key, access bytea, refresh bytea, expires_at timestamptz)',
);
for (let number = 0; number < count; number += 1) {
  const newToken = () => seal(randomBytes(tokenBytes).toString('base64url'));
  await pool.query('insert into row_lock_tokens values ($1, $2, $3, $4)', [
    `connection-${number}`,
    newToken(),
    newToken(),
    new Date(Date.now() + lifetimeMs),
  ]);
}

export interface RowLockPeer {
  /** As if all their lives were over. */
  expire(): Promise<void>;
}

const methods: RowLockPeer = {
  async expire() {
    await pool.query(`update row_lock_tokens set expires_at = now() - interval '1 second'`);
  },
};
serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }, () => serveCalls({ ...methods }));
