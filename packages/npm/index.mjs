import corral from './index.js';

export const { binary, command } = corral;
