"""The autoscaler beside an ideal one and beside a HorizontalPodAutoscaler on CPU, on simulated load."""
