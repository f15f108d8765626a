import { createMiddleware } from 'hono/factory';
import type { AuditTrail } from './audit-trail.ts';
import {
  bindingsOf,
  type GatewayBindings,
  type GatewayContext,
  type GatewayEnv,
} from './gateway-env.ts';
import { loggableText } from './loggable-text.ts';
import { accessOf } from './route-access.ts';
import { routeTemplate } from './route-template.ts';

const subjectsMax = 5;
const subjectMaxCharacters = 200;
/** An IPv6 address with its zone. */
const addressMaxCharacters = 64;

/** What says that somebody was refused, or asked for what may be somebody else's. */
const refusals = new Set(['unauthenticated', 'forbidden', 'connection_not_found', 'app_not_found']);

/** Writes the line of those requests that the audit tells of. */
export function auditRequests(trail: AuditTrail) {
  return createMiddleware<GatewayEnv>(async function auditRequests(c, next) {
    await next();
    if (!isAudited(c)) return;
    const caller = c.get('caller');
    trail.of(
      `${c.req.method} ${routeTemplate(c)}`,
      c.get('problem') ?? 'done',
    )({
      caller: caller?.name,
      subjects: caller === undefined ? subjectsOf(c) : undefined,
      clientAddress: loggedAddress(bindingsOf(c)),
      connectionId: c.get('connectionId'),
      appId: c.get('appId'),
      requestId: c.get('requestId'),
    });
  });
}

export function loggedAddress({ clientAddress = '' }: GatewayBindings): string {
  return loggableText(clientAddress, addressMaxCharacters);
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
