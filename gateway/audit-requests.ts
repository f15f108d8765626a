import { createMiddleware } from 'hono/factory';
import type { Logger } from '../platform/log.ts';
import { bindingsOf, type GatewayContext, type GatewayEnv } from './gateway-env.ts';
import { loggableText } from './loggable-text.ts';
import { accessOf } from './route-access.ts';
import { routeTemplate } from './route-template.ts';

const subjectsMax = 5;
const subjectMaxCharacters = 200;
/** An IPv6 address with its zone. */
const addressMaxCharacters = 64;

/** What says that somebody was refused, or asked for what may be somebody else's. */
const refusals = new Set(['unauthenticated', 'forbidden', 'connection_not_found', 'app_not_found']);

/**
 * One line, `audit: true`, for each token handed out, each write and each refusal: who, what, of which
 * connection or app, and how it ended. Names and ids only: never a token, key or body.
 */
export function auditRequests(log: Pick<Logger, 'info'>) {
  return createMiddleware<GatewayEnv>(async function auditRequests(c, next) {
    await next();
    if (!isAudited(c)) return;
    const caller = c.get('caller');
    log.info(
      {
        caller: caller?.name,
        ...(caller === undefined && { subjects: subjectsOf(c) }),
        client_address: loggableText(bindingsOf(c).clientAddress ?? '', addressMaxCharacters),
        action: `${c.req.method} ${routeTemplate(c)}`,
        connection_id: c.get('connectionId'),
        app_id: c.get('appId'),
        outcome: c.get('problem') ?? 'done',
        request_id: c.get('requestId'),
      },
      'audit',
    );
  });
}

function isAudited(c: GatewayContext): boolean {
  const problem = c.get('problem');
  if (problem !== undefined && refusals.has(problem)) return true;
  const access = accessOf(c);
  if (access === undefined || access === 'public') return false;
  if (access === 'tokens:read') return problem === undefined && c.req.method !== 'HEAD';
  return c.req.method !== 'GET' && c.req.method !== 'HEAD';
}

/** Of whoever was not known, as the certificate says: bounded, and nothing but text. */
function subjectsOf(c: GatewayContext): string[] | undefined {
  return bindingsOf(c)
    .clientIdentity?.subjects.slice(0, subjectsMax)
    .map((subject) => loggableText(subject, subjectMaxCharacters));
}
