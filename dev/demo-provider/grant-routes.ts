import type { IncomingMessage, ServerResponse } from 'node:http';

import { identifierPattern } from '../../client/contract.ts';

const bodyMaxBytes = 10_000;

/** `POST /grants {"connection_id"}`: 201 with a new grant's tokens. */
export async function answerGrants(
  request: IncomingMessage,
  response: ServerResponse,
  createGrant: (connectionId: string) => Promise<unknown>,
): Promise<void> {
  try {
    if (request.method !== 'POST') {
      answerJson(response, 405, { error: 'method_not_allowed' });
      return;
    }
    const connectionId = readConnectionId(await readBody(request));
    if (connectionId === undefined) {
      answerJson(response, 400, { error: 'a JSON body with a connection_id is needed' });
      return;
    }
    answerJson(response, 201, await createGrant(connectionId));
  } catch {
    answerJson(response, 500, { error: 'server_error' });
  }
}

export function answerJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'cache-control': 'no-store',
  });
  response.end(JSON.stringify(body));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > bodyMaxBytes) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function readConnectionId(body: string): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return undefined;
  }
  const id = (parsed as { connection_id?: unknown } | null)?.connection_id;
  return typeof id === 'string' && identifierPattern.test(id) ? id : undefined;
}
