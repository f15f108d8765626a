import { bindingsOf, type GatewayBindings, type GatewayContext } from './gateway-env.ts';
import { loggableText } from './loggable-text.ts';
import type { AuditFacts } from './request-records.ts';
import { accessOf } from './route-access.ts';

const subjectsMax = 5;
const subjectMaxCharacters = 200;
/** An IPv6 address with its zone. */
const addressMaxCharacters = 64;

/** What says that somebody was refused, or asked for what may be somebody else's. */
const refusals = new Set(['unauthenticated', 'forbidden', 'connection_not_found', 'app_not_found']);

/** What the audit tells of a request that is answered; undefined: it tells nothing of it. */
export function auditOf(c: GatewayContext): AuditFacts | undefined {
  if (!isAudited(c)) return undefined;
  const caller = c.get('caller')?.name;
  return {
    appId: c.get('appId'),
    caller,
    subjects: caller === undefined ? subjectsOf(c) : undefined,
    clientAddress: loggedAddress(bindingsOf(c)),
  };
}

export function loggedAddress({ clientAddress = '' }: GatewayBindings): string {
  return loggableText(clientAddress, addressMaxCharacters);
}

/** A token handed out, a write or a refusal. */
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
