import { bindingsOf, type GatewayBindings, type GatewayContext } from './gateway-env.ts';
import { loggableText } from './loggable-text.ts';
import type { RequestFacts } from './request-records.ts';
import { accessOf } from './route-access.ts';

const subjectsMax = 5;
const subjectMaxCharacters = 200;
/** An IPv6 address with its zone. */
const addressMaxCharacters = 64;

/** What says that somebody was refused, or asked for what may be somebody else's. */
const refusals = new Set(['unauthenticated', 'forbidden', 'connection_not_found', 'app_not_found']);

/** Whether the audit tells of a request that is answered: a token handed out, a write or a refusal. */
export function isAudited(c: GatewayContext): boolean {
  const problem = c.get('problem');
  if (problem !== undefined && refusals.has(problem)) return true;
  const access = accessOf(c);
  if (access === undefined || access === 'public') return false;
  if (access === 'tokens:read') return problem === undefined && c.req.method !== 'HEAD';
  return c.req.method !== 'GET' && c.req.method !== 'HEAD';
}

/** Who asked, as the audit tells it. */
export function auditedCaller(
  c: GatewayContext,
): Pick<RequestFacts, 'caller' | 'subjects' | 'clientAddress'> {
  const caller = c.get('caller')?.name;
  return {
    caller,
    subjects: caller === undefined ? subjectsOf(c) : undefined,
    clientAddress: loggedAddress(bindingsOf(c)),
  };
}

export function loggedAddress({ clientAddress = '' }: GatewayBindings): string {
  return loggableText(clientAddress, addressMaxCharacters);
}

/** Of whoever was not known, as the certificate says: bounded, and nothing but text. */
function subjectsOf(c: GatewayContext): string[] | undefined {
  return bindingsOf(c)
    .clientIdentity?.subjects.slice(0, subjectsMax)
    .map((subject) => loggableText(subject, subjectMaxCharacters));
}
