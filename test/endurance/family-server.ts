import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { RotationClass } from '../../connections/connection.ts';
import { answerJson, readBody } from './read-body.ts';
import { createRotationFamilies } from './rotation-families.ts';

/**
 * A token endpoint of all six rotation classes over families in memory: `POST /token`,
 * `POST /token/introspection`, `POST /grants {"connection_id", "client_id", "expires_in"}`, where the
 * client's id begins with the letter of the class, and `GET /ledger`.
 */
export function createFamilyServer(options: { graceMs: number; nowMs: () => number }): Server {
  const families = createRotationFamilies(options);

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = (await readBody(request)).toString('utf8');
    switch (`${request.method ?? ''} ${request.url ?? ''}`) {
      case 'POST /token': {
        const pair = families.exchange(new URLSearchParams(body).get('refresh_token') ?? '');
        if (pair === null) answerJson(response, 400, { error: 'invalid_grant' });
        else answerJson(response, 200, { ...pair, token_type: 'Bearer' });
        return;
      }
      case 'POST /token/introspection': {
        const token = new URLSearchParams(body).get('token') ?? '';
        answerJson(response, 200, { active: families.isActive(token) });
        return;
      }
      case 'POST /grants': {
        const grant = JSON.parse(body) as {
          connection_id: string;
          client_id: string;
          expires_in: number;
        };
        const rotationClass = grant.client_id.charAt(0) as RotationClass;
        const pair = families.grant(grant.connection_id, rotationClass, grant.expires_in);
        answerJson(response, 201, pair);
        return;
      }
      case 'GET /ledger':
        answerJson(response, 200, { connections: families.ledger() });
        return;
      default:
        answerJson(response, 404, { error: 'not_found' });
    }
  }

  return createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
}
