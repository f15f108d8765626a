import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { programArgument, serveCalls } from '../child-calls.ts';
import { openStores } from '../stores.ts';

/*
 * The limit of a cold read: Hono, one SELECT by the primary key, one open, one answer.
 */

export interface BareSelectOptions {
  port: number;
  url: string;
  keyFile: string;
}

interface Row {
  tenant_id: string;
  generation: string;
  sealed_access_token: Buffer;
  expires_at: Date;
}

const connectionsMax = 20;

const { port, url, keyFile } = programArgument() as BareSelectOptions;
const { pool, vault } = await openStores({ url, keyFile, connectionsMax });
const app = new Hono();
app.get('/v1/connections/:id/token', async (c) => {
  const id = c.req.param('id');
  const { rows } = await pool.query<Row>({
    name: 'bare-select',
    text: `select tenant_id, generation, sealed_access_token, expires_at from connections where id = $1`,
    values: [id],
  });
  const [row] = rows;
  if (row === undefined) return c.notFound();
  const owner = { tenantId: row.tenant_id, id, generation: Number(row.generation) };
  const accessToken = await vault.open('access-token', owner, row.sealed_access_token);
  return c.json({ access_token: accessToken.reveal(), expires_at: row.expires_at });
});
serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }, () => serveCalls({}));
