class WebSocketClient {
  constructor(game) {
    this.game = game;
    this.ws = null;
    this.reconnectAttempts = 0;
    this.maxReconnectAttempts = 5;
    this.reconnectDelay = 3000;
  }
  connect() {
    const protocol = window.location.protocol === 'https:' ? 'wss:' : 'ws:';
    const url = `${protocol}//${window.location.host}/ws/${this.game}`;
    this.ws = new WebSocket(url);
    this.ws.onopen = () => {
      console.log('WebSocket connected');
      this.reconnectAttempts = 0;
    };
    this.ws.onmessage = (event) => {
      const data = JSON.parse(event.data);
      this.handleMessage(data);
    };
    this.ws.onclose = () => {
      console.log('WebSocket disconnected');
      this.reconnect();
    };
    this.ws.onerror = (error) => {
      console.error('WebSocket error:', error);
    };
  }
  handleMessage(data) {
    console.log('New round:', data.round_id);
    console.log('Result:', JSON.parse(data.extras));
  }
  reconnect() {
    if (this.reconnectAttempts >= this.maxReconnectAttempts) {
      console.error('Max reconnect attempts reached');
      return;
    }
    this.reconnectAttempts++;
    console.log(`Reconnecting in ${this.reconnectDelay}ms...`);
    setTimeout(() => {
      this.connect();
    }, this.reconnectDelay);
  }
  disconnect() {
    if (this.ws) {
      this.ws.close();
    }
  }
}
// Usage
const client = new WebSocketClient('crash');
client.connect();
