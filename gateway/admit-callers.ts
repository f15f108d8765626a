import { createMiddleware } from 'hono/factory';
import { TokenManagerError } from '../client/contract.ts';
import { isVisible, type Caller, type Scope } from './caller.ts';
import type { Callers } from './callers.ts';
import { bindingsOf, type GatewayContext, type GatewayEnv } from './gateway-env.ts';
import { accessOf } from './route-access.ts';

/**
 * Lets a request on only if its caller is known and may take its route; before the body is read. Throws
 * `unauthenticated`, `forbidden`.
 */
export function admitCallers(callers: Callers) {
  return createMiddleware<GatewayEnv>(async function admitCallers(c, next) {
    const access = accessOf(c);
    if (access !== 'public') {
      const caller = identify(callers, c);
      c.set('caller', caller);
      if (access !== undefined) requireScope(caller, access);
    }
    await next();
  });
}

/** Who asks on a route that is not public. */
export function callerOf(c: GatewayContext): Caller {
  const caller = c.get('caller');
  // To go on would be to answer everybody.
  if (caller === undefined) throw new Error('the request was not admitted');
  return caller;
}

/** Throws `forbidden`. */
export function requireScope(caller: Caller, scope: Scope): void {
  if (!caller.scopes.has(scope)) {
    throw new TokenManagerError('forbidden', { detail: `The caller lacks the scope ${scope}.` });
  }
}

/**
 * Throws `forbidden`. For what the request itself names: what it finds of other tenants is not there
 * for the caller, and not forbidden.
 */
export function requireTenant(caller: Caller, tenantId: string): void {
  if (!isVisible(tenantId, caller.tenants)) {
    throw new TokenManagerError('forbidden', {
      detail: 'The caller may not write to this tenant.',
    });
  }
}

function identify(callers: Callers, c: GatewayContext): Caller {
  const { clientIdentity } = bindingsOf(c);
  const credentials = { clientIdentity, authorization: c.req.header('Authorization') };
  try {
    return callers.identify(credentials);
  } catch (error) {
    c.header('WWW-Authenticate', callers.challenge(credentials));
    throw error;
  }
}
