export { refreshConnection } from './refresh-connection.ts';
