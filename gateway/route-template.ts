import { routePath } from 'hono/route';
import type { GatewayContext } from './gateway-env.ts';

/** The route as the documentation writes it; `unmatched` when only middleware saw the request. */
export function routeTemplate(c: GatewayContext): string {
  const path = routePath(c, -1);
  return path === '/*' ? 'unmatched' : path.replaceAll(/:(\w+)/g, '{$1}');
}
