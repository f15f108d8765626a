import { matchedRoutes } from 'hono/route';
import type { Scope } from './caller.ts';
import type { GatewayApp, GatewayContext } from './gateway-env.ts';

/** What a caller needs for a route: a scope, or nothing, not even an identity. */
export type RouteAccess = Scope | 'public';

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE' | 'PATCH';

/**
 * Every route that there is, and the only place that says who may take it. A route that is not here
 * stops the gateway at its start. HEAD is as GET. `tokens:refresh` is asked for by the token routes
 * themselves, for it depends on what the request demands.
 */
const accessByRoute: Readonly<Record<string, Partial<Record<Method, RouteAccess>>>> = {
  '/ping': { GET: 'public' },
  '/ready': { GET: 'public' },
  '/build': { GET: 'public' },
  '/openapi.json': { GET: 'public' },
  '/docs': { GET: 'public' },
  '/docs/': { GET: 'public' },
  '/docs/{file}': { GET: 'public' },
  '/problems/{code}': { GET: 'public' },
  '/v1/connections/{id}/token': { GET: 'tokens:read' },
  '/v1/connections/{id}/token/refresh': { POST: 'tokens:read' },
  '/v1/connections': { GET: 'connections:read' },
  '/v1/connections/{id}': {
    GET: 'connections:read',
    PUT: 'connections:write',
    DELETE: 'connections:write',
  },
  '/v1/connections/{id}/pause': { POST: 'connections:write' },
  '/v1/connections/{id}/resume': { POST: 'connections:write' },
  '/v1/connections/{id}/attempts': { GET: 'connections:read' },
  '/v1/apps': { GET: 'connections:read' },
  '/v1/apps/{app_id}': { GET: 'connections:read', PUT: 'apps:write', DELETE: 'apps:write' },
  '/v1/apps/{app_id}/resume': { POST: 'apps:write' },
  '/v1/events': { GET: 'events:read' },
  '/v1/providers': { GET: 'connections:read' },
  '/v1/providers/{name}': { GET: 'connections:read' },
};

/** The same by the path as Hono writes it. */
const accessByPath = new Map(
  Object.entries(accessByRoute).map(([template, access]) => [
    template.replaceAll(/\{(\w+)\}/g, ':$1'),
    new Map<string, RouteAccess>(Object.entries(access)),
  ]),
);

/**
 * What the route of a request needs. Undefined for a path that there is not, or a method that its path
 * does not take: whoever may ask at all is told so.
 */
export function accessOf(c: GatewayContext): RouteAccess | undefined {
  const route = matchedRoutes(c).at(-1);
  const access = route === undefined ? undefined : accessByPath.get(route.path);
  if (access === undefined) return undefined;
  const method = c.req.method === 'HEAD' ? 'GET' : c.req.method;
  // A method that a public path does not take is no secret either.
  return access.get(method) ?? (access.get('GET') === 'public' ? 'public' : undefined);
}

/** Throws for a route of the app that the table does not know: nobody would have to be known for it. */
export function checkRouteAccess(app: GatewayApp): void {
  for (const { method, path } of app.routes) {
    if (method !== 'ALL' && accessByPath.get(path)?.has(method) !== true) {
      throw new Error(`${method} ${path} is not in gateway/route-access.ts: say who may take it.`);
    }
  }
}
